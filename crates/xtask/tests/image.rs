//! The check of built files: each fault is found in a file that has it.
//!
//! The files are compiled here, by g++ and by mingw; without them these tests fail.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::process::Command;

use licencekit::template::image::PLATFORM_EXPORTS;
use xtask::dist::image::{Kind, faults};
use xtask::dist::target::Platform;

const MINGW: &str = "x86_64-w64-mingw32-g++-posix";

/// A file compiled from this text.
fn compiled(compiler: &str, text: &str, arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, built) = (folder.path().join("source.cpp"), folder.path().join("built"));
    std::fs::write(&source, text).unwrap();
    let mut command = Command::new(compiler);
    command.arg("-o").arg(&built).arg(&source).args(arguments);
    let status = command.status().unwrap_or_else(|why| panic!("{compiler}: {why}"));
    assert!(status.success(), "{compiler} {arguments:?}");
    // On Windows the linker adds an ending to the name.
    let with_ending = built.with_extension("exe");
    std::fs::read(if with_ending.is_file() { with_ending } else { built }).unwrap()
}

/// C functions with these names.
fn functions(names: &[&str]) -> String {
    let functions =
        names.iter().map(|name| format!("extern \"C\" EXPORT long {name}(void) {{ return 0; }}\n"));
    format!(
        "#ifdef _WIN32\n#define EXPORT __declspec(dllexport)\n#else\n#define EXPORT\n#endif\n{}",
        functions.collect::<String>()
    )
}

fn all_exports() -> Vec<&'static str> {
    PLATFORM_EXPORTS.into_iter().chain(["LicenceAddinTakeOver"]).collect()
}

/// A linux library that uses nothing of any other, so that the machine's own glibc does not count.
const BARE: [&str; 4] = ["-shared", "-fPIC", "-nostdlib", "-O1"];

#[test]
fn component_without_faults_passes_on_both_systems() {
    let source = functions(&all_exports());
    let linux = compiled("g++", &source, &BARE);
    assert_eq!(faults(&linux, Platform::Linux64, Kind::Component), [""; 0]);
    let windows = compiled(MINGW, &source, &["-shared", "-static"]);
    assert_eq!(faults(&windows, Platform::Windows64, Kind::Component), [""; 0]);
}

#[test]
fn component_that_lacks_an_export_is_found_out() {
    let all = all_exports();
    let source = functions(&all[1..]);
    let expected = [format!("does not export {}", all[0])];
    let linux = compiled("g++", &source, &BARE);
    assert_eq!(faults(&linux, Platform::Linux64, Kind::Component), expected);
    let windows = compiled(MINGW, &source, &["-shared", "-static"]);
    assert_eq!(faults(&windows, Platform::Windows64, Kind::Component), expected);
    let without_hand_over = compiled("g++", &functions(&PLATFORM_EXPORTS), &BARE);
    assert_eq!(
        faults(&without_hand_over, Platform::Linux64, Kind::Component),
        ["does not export LicenceAddinTakeOver"]
    );
    assert_eq!(faults(&without_hand_over, Platform::Linux64, Kind::Program), [""; 0]);
}

#[test]
fn runtime_of_a_compiler_is_no_part_of_a_system() {
    let source = "#include <string>\n#include <stdexcept>\n\
                  int main(int n, char **) { try { throw std::runtime_error(std::string(n, 'x')); }\n\
                  catch (std::exception &) { return 0; } }";
    let linux = faults(&compiled("g++", source, &[]), Platform::Linux64, Kind::Program);
    assert!(linux.contains(&"needs libstdc++.so.6".to_owned()), "{linux:?}");
    let windows = faults(&compiled(MINGW, source, &[]), Platform::Windows64, Kind::Program);
    assert!(windows.contains(&"needs libstdc++-6.dll".to_owned()), "{windows:?}");
    let fixed = compiled(MINGW, source, &["-static"]);
    assert_eq!(faults(&fixed, Platform::Windows64, Kind::Program), [""; 0]);
}

#[test]
fn newer_glibc_than_that_of_old_systems_is_found_out() {
    // `gettid` came with glibc 2.30.
    let source = "#include <unistd.h>\nint main() { return gettid() == 0; }";
    let found = faults(&compiled("g++", source, &[]), Platform::Linux64, Kind::Program);
    assert!(found.contains(&"needs GLIBC_2.30, newer than 2.17".to_owned()), "{found:?}");
}

#[test]
fn file_for_another_system_or_none_is_found_out() {
    let linux = compiled("g++", &functions(&all_exports()), &BARE);
    for platform in [Platform::Linux32, Platform::Windows64, Platform::Windows32] {
        assert_eq!(
            faults(&linux, platform, Kind::Component),
            [format!("not made for {}", platform.name())]
        );
    }
    assert_eq!(faults(b"text", Platform::Linux64, Kind::Program).len(), 1);
    assert_eq!(faults(&linux[..linux.len() / 2], Platform::Linux64, Kind::Component).len(), 1);
}
