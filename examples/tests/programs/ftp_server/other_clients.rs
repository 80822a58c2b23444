//! The clients that everybody has: Python's ftplib, and curl.

use std::process::{Command, Output};

use super::client::*;
use crate::util::{listening, python};

#[test]
fn ftplib_lists_fetches_and_stores_a_tree() {
    const CHECK: &str = "import ftplib, sys; sys.exit(sys.version_info < (3, 6))";
    const SCRIPT: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/programs/ftp_server/ftplib_client.py"
    );

    let Some(python) = python(CHECK, "Python's ftplib") else {
        return;
    };
    for option in [None, Some("--poll")] {
        let site = Site::new(&[]);
        let (_server, addr) = listening(writable(&site.root).args(option));
        let port = addr.port().to_string();
        let local = site.directory.path().join("local");
        let output = Command::new(&python)
            .args(["-B", SCRIPT, &port, "ann", "open sesame"])
            .args([&local, &site.root])
            .output()
            .expect("it has been run before");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{errors}");
        assert_eq!(said.lines().last(), Some("all is well"), "{said}{errors}");
    }
}

/// What curl does, or nothing where there is none, which is told.
fn curl(args: &[&str]) -> Option<Output> {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "100",
        "--noproxy",
        "*",
    ]);
    match command.args(args).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("NOT TESTED: there is no curl here");
            None
        }
    }
}

#[test]
fn curl_lists_fetches_resumes_and_stores_a_tree() {
    let noise = noise(5 * MIB);
    let files: Files = &[
        ("noise", &noise),
        ("empty", b""),
        ("a b/Ünï/-dash #1.txt", b"deep\n"),
        ("a b/lines", b"1\n2\n"),
    ];
    let site = Site::new(files);
    let before = tree(&site.root);
    let (_server, addr) = listening(&mut writable(&site.root));
    let url = |path: &str| format!("ftp://ann:open%20sesame@{addr}/{path}");
    let Some(listed) = curl(&["--list-only", &url("a%20b/")]) else {
        return;
    };
    let succeeds = |args: &[&str]| {
        let output = curl(args).expect("it was there before");
        assert!(output.status.success(), "curl {args:?}: {output:?}");
        output.stdout
    };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort();
    assert_eq!(listed, ["lines", "Ünï"]);
    assert_eq!(
        String::from_utf8_lossy(&succeeds(&[&url("")]))
            .lines()
            .count(),
        3
    );

    let urls = [
        "noise",
        "empty",
        "a%20b/%C3%9Cn%C3%AF/-dash%20%231.txt",
        "a%20b/lines",
    ];
    for (path, (_, contents)) in urls.iter().zip(files) {
        assert!(succeeds(&[&url(path)]) == *contents, "{path}");
        assert!(
            succeeds(&["--disable-epsv", &url(path)]) == *contents,
            "{path}"
        );
    }
    assert!(succeeds(&["--continue-at", "1000000", &url("noise")]) == noise[1_000_000..]);
    assert_eq!(succeeds(&["--range", "1-2", &url("a%20b/lines")]), b"\n2");
    let head = succeeds(&["--head", &url("noise")]);
    let head = String::from_utf8_lossy(&head);
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", noise.len())),
        "{head}"
    );
    assert!(head.contains("Last-Modified: "), "{head}");

    for ((name, _), path) in files.iter().zip(urls) {
        let local = site.path(name);
        let local = local.to_str().expect("UTF-8");
        let copy = url(&format!("copy/{path}"));
        succeeds(&["--ftp-create-dirs", "--upload-file", local, &copy]);
    }
    let after = tree(&site.root);
    for (path, contents) in &before {
        assert!(after.get(path) == Some(contents), "{path}");
        assert!(
            after.get(&format!("/copy{path}")) == Some(contents),
            "{path}"
        );
    }
    assert_eq!(after.len(), 2 * before.len() + 1);

    // An upload that was broken off is resumed where it was.
    std::fs::write(site.path("half"), &noise[..noise.len() / 2]).expect("it can be written");
    let local = site.path("noise");
    let local = local.to_str().expect("UTF-8");
    succeeds(&["--continue-at", "-", "--upload-file", local, &url("half")]);
    assert!(site.read("half") == noise);
    succeeds(&[
        "--quote",
        "-DELE half",
        "--quote",
        "-RNFR empty",
        "--quote",
        "-RNTO none",
        &url(""),
    ]);
    assert!(!site.path("half").exists() && site.path("none").exists());

    for (args, status) in [
        (&["--path-as-is", &url("../secret")][..], 78),
        (&[&*url("nothing")], 78),
        (&[&*format!("ftp://ann:wrong@{addr}/")], 67),
        (&["--ftp-port", "-", &url("noise")], 30),
    ] {
        let output = curl(args).expect("it was there before");
        assert_eq!(
            output.status.code(),
            Some(status),
            "curl {args:?}: {output:?}"
        );
    }
}
