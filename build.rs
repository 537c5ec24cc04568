//! Where the binary looks for libtorch at run time.
//!
//! RUNPATH, not RPATH: `LD_LIBRARY_PATH`, when set, is searched first, so the same binary can be pointed at any
//! PyTorch 2.11 installation (one with CUDA, say) without a rebuild.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let mut folders = vec![
        "$ORIGIN/libtorch/lib".to_owned(),
        "$ORIGIN/../lib/libtorch/lib".to_owned(),
        "/opt/libtorch/lib".to_owned(),
    ];
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        let folder = std::fs::canonicalize(&folder).map_or(folder, |f| f.display().to_string());
        folders.push(folder);
    }
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folders.join(":"));
}
