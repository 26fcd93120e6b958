// SPDX-License-Identifier: MIT
//! Tells the program what it was built with: the compiler, and the crates of Cargo.lock.
use std::{env, fs, path::Path, process::Command};

/// "tokio 1.24.2" of the lock file's entry.
fn locked(lock: &str, name: &str) -> String {
    let entry = format!("name = \"{}\"\nversion = \"", name);
    let start = lock.find(&entry).expect("a dependency in Cargo.lock") + entry.len();
    let version = lock[start..].split('"').next().unwrap();
    format!("{} {}", name, version)
}

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap();
    let lock = fs::read_to_string(Path::new(&folder).join("Cargo.lock")).unwrap();
    let output = Command::new(env::var("RUSTC").unwrap())
        .arg("--version")
        .output()
        .unwrap();
    let rustc = String::from_utf8(output.stdout).unwrap();
    println!("cargo:rerun-if-changed={}/Cargo.lock", folder);
    let http =
        env::var("CARGO_FEATURE_HYPER").map_or("no hyper".to_string(), |_| locked(&lock, "hyper"));
    println!(
        "cargo:rustc-env=PEER_VERSION={}, {}, {}, {}, opt-level {}, {}",
        locked(&lock, "tokio"),
        locked(&lock, "async-channel"),
        http,
        rustc.trim(),
        env::var("OPT_LEVEL").unwrap(),
        env::var("PROFILE").unwrap(),
    );
}
