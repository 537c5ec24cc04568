//! NumPy's `.npz` archives: a zip of `.npy` arrays. Golden cases are kept in them.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

/// All arrays of an archive together, bytes. No golden case needs more, and an archive may claim anything.
const LARGEST_ARCHIVE: u64 = 256 << 20;

/// A dense array, last index fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Extent of each dimension; empty for a single number.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Values,
}

/// The values of an array, by type.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `|u1`
    U8(Vec<u8>),
    /// `<i2`
    I16(Vec<i16>),
    /// `<i8`
    I64(Vec<i64>),
    /// `<f4`
    F32(Vec<f32>),
    /// `<f8`
    F64(Vec<f64>),
}

impl Values {
    /// The name of the type, as NumPy and PyTorch write it.
    #[must_use]
    pub const fn dtype(&self) -> &'static str {
        match self {
            Self::U8(_) => "uint8",
            Self::I16(_) => "int16",
            Self::I64(_) => "int64",
            Self::F32(_) => "float32",
            Self::F64(_) => "float64",
        }
    }
}

impl Array {
    /// Whether both have the same shape, type and bits: NaN is the same as NaN.
    #[must_use]
    pub fn same_bits(&self, other: &Self) -> bool {
        let values = match (&self.values, &other.values) {
            (Values::F32(a), Values::F32(b)) => a.iter().map(|a| a.to_bits()).eq(b.iter().map(|b| b.to_bits())),
            (Values::F64(a), Values::F64(b)) => a.iter().map(|a| a.to_bits()).eq(b.iter().map(|b| b.to_bits())),
            (one, other) => one == other,
        };
        values && self.shape == other.shape
    }
}

/// Reads all arrays of an archive, by name.
///
/// # Errors
/// What is wrong with the archive, for its author.
pub fn read(file: impl Read + Seek) -> Result<BTreeMap<String, Array>, String> {
    read_within(file, LARGEST_ARCHIVE)
}

/// `left`: how many bytes all arrays may have.
fn read_within(file: impl Read + Seek, mut left: u64) -> Result<BTreeMap<String, Array>, String> {
    let mut archive = zip::ZipArchive::new(file).map_err(|error| format!("is not an .npz archive: {error}"))?;
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|error| error.to_string())?;
        let name = member.name().map_err(|error| error.to_string())?.into_owned();
        let key = name.strip_suffix(".npy").ok_or_else(|| format!("holds «{name}», which is no .npy array"))?;
        let array = read_array(&mut member, &mut left).map_err(|message| format!("array «{key}»: {message}"))?;
        arrays.insert(key.to_owned(), array);
    }
    Ok(arrays)
}

/// Reads one `.npy` array (format 1.0 to 3.0, little-endian, C order).
fn read_array(file: &mut impl Read, left: &mut u64) -> Result<Array, String> {
    let mut start = [0u8; 8];
    file.read_exact(&mut start).map_err(|error| error.to_string())?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("does not begin as .npy does".to_owned());
    }
    let length = if start[6] == 1 {
        let mut length = [0u8; 2];
        file.read_exact(&mut length).map_err(|error| error.to_string())?;
        u32::from(u16::from_le_bytes(length))
    } else {
        let mut length = [0u8; 4];
        file.read_exact(&mut length).map_err(|error| error.to_string())?;
        u32::from_le_bytes(length)
    };
    let mut header = String::new();
    file.take(u64::from(length.min(65_536))).read_to_string(&mut header).map_err(|error| error.to_string())?;
    let (descr, shape) = parse_header(&header)?;
    let count = shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent as u64));
    let width =
        if descr == "|u1" { 1 } else { descr.get(2..).and_then(|width| width.parse::<u64>().ok()).unwrap_or(8) };
    let bytes = count.and_then(|count| count.checked_mul(width)).and_then(|bytes| left.checked_sub(bytes));
    *left = bytes.ok_or("is too large")?;
    let count = count.unwrap_or(0);
    let values = match descr {
        "|u1" => Values::U8(read_bytes(file, count)?),
        "<i2" => Values::I16(numbers(&read_bytes(file, count * 2)?, i16::from_le_bytes)),
        "<i8" => Values::I64(numbers(&read_bytes(file, count * 8)?, i64::from_le_bytes)),
        "<f4" => Values::F32(numbers(&read_bytes(file, count * 4)?, f32::from_le_bytes)),
        "<f8" => Values::F64(numbers(&read_bytes(file, count * 8)?, f64::from_le_bytes)),
        other => return Err(format!("has type {other}; |u1, <i2, <i8, <f4 and <f8 are read")),
    };
    Ok(Array { shape, values })
}

fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
}

fn read_bytes(file: &mut impl Read, count: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 == count { Ok(bytes) } else { Err("ends early".to_owned()) }
}

/// The header is a Python literal: `{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_header(header: &str) -> Result<(&str, Vec<usize>), String> {
    let after = |key: &str| {
        let start = header.find(key).ok_or_else(|| format!("its header has no {key}"))?;
        Ok::<_, String>(header[start + key.len()..].trim_start_matches([':', ' ']))
    };
    let descr = after("'descr'")?.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
    let descr = descr.ok_or("its header has no plain type")?;
    if !after("'fortran_order'")?.starts_with("False") {
        return Err("is in Fortran order".to_owned());
    }
    let shape = after("'shape'")?.strip_prefix('(').and_then(|rest| rest.split(')').next());
    let shape = shape.ok_or("its header has no shape")?;
    let extents = shape.split(',').map(str::trim).filter(|text| !text.is_empty());
    let extent = |text: &str| text.parse().map_err(|_| format!("has the extent «{text}»"));
    Ok((descr, extents.map(extent).collect::<Result<Vec<usize>, String>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn npz(members: &[(&str, Vec<u8>)]) -> Cursor<Vec<u8>> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn arrays_come_out_by_name_with_shape_and_type() {
        let voxels = npy("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1), }\n", &[1, 0, 255, 255]);
        let verdict = npy("{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n", &7i64.to_le_bytes());
        let arrays = read(npz(&[("voxels.npy", voxels), ("verdict.npy", verdict)])).unwrap();
        assert_eq!(arrays["voxels"], Array { shape: vec![2, 1], values: Values::I16(vec![1, -1]) });
        assert_eq!(arrays["verdict"], Array { shape: vec![], values: Values::I64(vec![7]) });
    }

    #[test]
    fn broken_archives_are_refused_without_large_allocations() {
        let refused = |bytes: Vec<u8>| read(npz(&[("a.npy", bytes)])).unwrap_err();
        let header = |shape: &str| format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
        assert!(refused(npy(&header("3,"), &[0; 8])).contains("ends early"));
        assert!(refused(npy(&header("99999999999, 99999999999"), &[])).contains("too large"));
        assert!(refused(npy(&header("40000000,"), &[])).contains("too large"), "320 MB");
        let two = || npz(&[("a.npy", npy(&header("2,"), &[0; 16])), ("b.npy", npy(&header("1,"), &[0; 8]))]);
        assert_eq!(read_within(two(), 24).unwrap().len(), 2);
        assert_eq!(read_within(two(), 23).unwrap_err(), "array «b»: is too large");
        assert!(refused(npy(&header("-1,"), &[])).contains("extent"));
        assert!(refused(npy("{}", &[])).contains("descr"));
        assert!(refused(npy(&header("1").replace("False", "True"), &[0; 8])).contains("Fortran"));
        assert!(refused(npy(&header("1").replace("<f8", "|O"), &[0; 8])).contains("type |O"));
        assert!(refused(b"\x93NUMP".to_vec()).contains("failed"));
        assert!(read(Cursor::new(b"PK".to_vec())).is_err());
    }
}
