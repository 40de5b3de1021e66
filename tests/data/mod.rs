//! Data sets, batches, files that are rare or damaged.

mod batches; // batches, gathers, pools, augmentation: properties and values computed by hand
mod configured; // what a configuration makes of data
mod crop; // parts of images
mod left_out; // files that cannot be read, counted
mod reliability; // files that are damaged or rare: read rightly, or refused by name
mod sequences; // copy-paste, parity, text: examples, scores, the trivial solution
mod shares; // splits as shares, folders of classes, epochs
mod streaming; // batches read ahead by threads: the same ones, whatever breaks

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

/// Writes a file below a folder, and the folders that it lies in.
fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    fs::write(&path, bytes).expect("writable");
    path
}
