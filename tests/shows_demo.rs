//! `make demo` without its build: what a visitor sees first.

#![cfg(feature = "torch")]

use std::path::Path;
use std::process::Command;

use crate::testkit::peers::{free_port, python, python_program, root};
use crate::testkit::running_node::PROGRAM;

#[test]
fn the_demo_shows_the_measurements_the_objects_and_a_picture_of_both_lungs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let ports = [free_port(), free_port()].map(|port| port.to_string());
    let mut demo = Command::new(python_program());
    demo.arg(root().join("demo/run.py")).args(["--overread", PROGRAM, "--out"]).arg(&out).arg("--ports").args(&ports);
    let output = demo.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let row = |name: &str| -> Vec<&str> {
        let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {said}"));
        line.split_whitespace().collect()
    };
    let head = row("measurement").join(" ");
    assert!(head.starts_with("measurement unit Right lung Left lung"), "{head}");
    for (name, unit, least, most) in [
        ("Volume", "cm3", 500.0, 6000.0),
        ("Attenuation Coefficient (Mean)", "HU", -950.0, -600.0),
        ("Low attenuation area below -950 HU", "%", 0.0, 30.0),
        ("Attenuation Coefficient (15th percentile)", "HU", -1000.0, -800.0),
    ] {
        let cells = row(name);
        let [at, right, left, both] = &cells[cells.len() - 4..] else { panic!() };
        assert_eq!(*at, unit, "{name}");
        let [right, left, both] = [right, left, both].map(|cell| cell.replace(',', "").parse::<f64>().unwrap());
        assert!([right, left, both].iter().all(|value| (least..most).contains(value)), "{name}: {cells:?}");
        let is_between = (right.min(left)..=right.max(left)).contains(&both);
        let is_sum = (right + left - both).abs() < 0.05;
        assert!(if unit == "cm3" { is_sum } else { is_between }, "{name}: {cells:?}");
    }
    for kind in ["SR", "SEG"] {
        let shown = row(&format!("{kind} "));
        let [_, path] = shown[..] else { panic!("one {kind}: {shown:?}") };
        assert!(Path::new(path).starts_with(&out) && Path::new(path).is_file(), "{path}");
    }
    assert_eq!(row("PNG ")[1], out.join("lungs.png").to_str().unwrap());
    let picture = python("check_picture.py", &[out.join("lungs.png")]);
    assert!(picture.success, "{}", picture.text);
}
