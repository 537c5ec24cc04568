//! sRGB to the CIELab encoding of DICOM (PS3.3 C.10.7.1.1): the profile connection space of ICC, white point D50.

/// Linear sRGB to XYZ, adapted from D65 to D50 (Bradford).
const TO_XYZ_D50: [[f64; 3]; 3] = [
    [0.436_074_7, 0.385_064_9, 0.143_080_4],
    [0.222_504_5, 0.716_878_6, 0.060_616_9],
    [0.013_932_2, 0.097_104_5, 0.714_173_3],
];
const WHITE_D50: [f64; 3] = [0.964_22, 1.0, 0.825_21];

/// Recommended Display CIELab Value (0062,000D) of an sRGB colour: L 0..100 on 0..FFFFH, a and b -128..127 on 0..FFFFH.
#[must_use]
pub fn cielab(srgb: [u8; 3]) -> [u16; 3] {
    let linear = srgb.map(|channel| {
        let c = f64::from(channel) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    let [x, y, z]: [f64; 3] = std::array::from_fn(|i| {
        let xyz: f64 = (0..3).map(|j| TO_XYZ_D50[i][j] * linear[j]).sum();
        lightness_curve(xyz / WHITE_D50[i])
    });
    let scaled = |value: f64, low: f64, range: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 16 bits")]
        let encoded = ((value - low) / range * 65535.0).round().clamp(0.0, 65535.0) as u16;
        encoded
    };
    [
        scaled(116.0 * y - 16.0, 0.0, 100.0),
        scaled(500.0 * (x - y), -128.0, 255.0),
        scaled(200.0 * (y - z), -128.0, 255.0),
    ]
}

fn lightness_curve(t: f64) -> f64 {
    if t > 216.0 / 24389.0 { t.cbrt() } else { (24389.0 / 27.0 * t + 16.0) / 116.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: PIL's ImageCms, sRGB to LAB (8 bit, so one step of 257).
    #[test]
    fn white_black_and_primaries_are_where_icc_puts_them() {
        assert_eq!(cielab([0, 0, 0]), [0, 0x8080, 0x8080]);
        let white = cielab([255, 255, 255]);
        assert_eq!(white[0], 0xFFFF);
        assert!(white[1].abs_diff(0x8080) < 30 && white[2].abs_diff(0x8080) < 30, "{white:?}");
        let red = cielab([255, 0, 0]);
        let expected = [54.29 / 100.0, (80.81 + 128.0) / 255.0, (69.89 + 128.0) / 255.0];
        for (channel, share) in red.iter().zip(expected) {
            assert!((f64::from(*channel) / 65535.0 - share).abs() < 0.001, "{red:?}");
        }
    }
}
