//! Every kernel file: a header that teaches, an entry point of its own name, bindings the engine can read.

use std::fs;
use trellis_tensor::Kernel;

fn kernels() -> Vec<Kernel> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let mut kernels: Vec<Kernel> = fs::read_dir(folder)
        .expect("the source is here")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .map(|path| Kernel {
            name: path.file_stem().expect("named").to_string_lossy().into_owned().leak(),
            source: fs::read_to_string(&path).expect("readable").leak(),
        })
        .collect();
    kernels.sort_by_key(|kernel| kernel.name);
    kernels
}

#[test]
fn kernels_have_headers_and_their_own_names() {
    for kernel in kernels() {
        let Kernel { name, source } = kernel;
        assert!(source.starts_with(&format!("// {name}.wgsl: ")), "{name}: the first line says what it computes");
        for part in ["// in ", "// out ", "// launch ", "// memory ", "// cost ", "// numeric ", "// source "] {
            assert!(source.contains(part), "{name}: the header lacks \"{part}\"");
        }
        assert!(source.contains(&format!("fn {name}(")), "{name}: the entry point has the file's name");
        assert!(source.lines().count() <= 160, "{name}: {} lines", source.lines().count());
        assert!(!kernel.bindings().is_empty(), "{name}");
        assert!(kernel.bindings().len() <= 8, "{name}: more storage buffers than WebGPU's default limit");
        kernel.expand(&[]);
    }
}

#[test]
fn every_kernel_is_used_by_an_op() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/tensor/src");
    let mut text = String::new();
    for folder in [folder.to_string(), format!("{folder}/ops")] {
        for entry in fs::read_dir(folder).expect("the source is here") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                text.push_str(&fs::read_to_string(path).expect("readable"));
            }
        }
    }
    for kernel in kernels() {
        assert!(text.contains(&format!("kernel!(\"{}\")", kernel.name)), "{} is used by no op", kernel.name);
    }
}
