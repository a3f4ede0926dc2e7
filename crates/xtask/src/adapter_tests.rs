use super::*;

/// A stand-in for `/` that holds the given empty files.
struct Root(PathBuf);

impl Root {
    fn new(name: &str, files: &[&str]) -> Self {
        let root = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        Self(root)
    }

    fn look(&self, env: &[(&str, &str)], ldconfig: &str) -> Found {
        let env = |name: &str| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        };
        Found::look(&self.0, &env, ldconfig)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LOADER: &str = "usr/lib64/libvulkan.so.1";
const LVP: &str = "usr/share/vulkan/icd.d/lvp_icd.x86_64.json";
const RADEON: &str = "usr/share/vulkan/icd.d/radeon_icd.x86_64.json";
const NVIDIA: &str = "etc/vulkan/icd.d/nvidia_icd.json";

#[test]
fn usable_adapters_are_recognised() {
    let cases: &[(&[&str], Result<&str, &str>)] = &[
        (&[], Err("no Vulkan loader")),
        (&[LVP], Err("no Vulkan loader")),
        (&[LOADER], Err("no Vulkan driver")),
        (
            &[LOADER, "usr/share/vulkan/icd.d/README"],
            Err("no Vulkan driver"),
        ),
        (&[LOADER, RADEON], Err("for GPUs this machine lacks")),
        (&[LOADER, NVIDIA], Err("for GPUs this machine lacks")),
        (
            &[LOADER, RADEON, "dev/dri/card0"],
            Err("for GPUs this machine lacks"),
        ),
        (
            &[LOADER, RADEON, "dev/nvidiactl"],
            Err("for GPUs this machine lacks"),
        ),
        (
            &[LOADER, NVIDIA, "dev/dri/renderD128"],
            Err("for GPUs this machine lacks"),
        ),
        (&[LOADER, LVP], Ok("in software")),
        (&[LOADER, LVP, "dev/dri/renderD128"], Ok("in software")),
        (&[LOADER, LVP, RADEON], Ok("in software")),
        (
            &[LOADER, LVP, RADEON, "dev/dri/renderD128"],
            Ok("a GPU's driver"),
        ),
        (&[LOADER, NVIDIA, "dev/nvidia0"], Ok("NVIDIA")),
    ];
    for (number, (files, expected)) in cases.iter().enumerate() {
        let root = Root::new(&format!("usable{number}"), files);
        match (root.look(&[], "").usable(), expected) {
            (Ok(text), Ok(part)) | (Err(text), Err(part)) => {
                assert!(text.contains(part), "{files:?}: {text}");
            }
            (got, _) => panic!("{files:?}: {got:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn the_loader_is_found_in_every_place() {
    let bare = Root::new("loader-none", &[]);
    assert!(
        !bare
            .look(&[], "\tlibGL.so.1 (libc6) => /lib/libGL.so.1")
            .loader
    );
    assert!(
        bare.look(
            &[],
            "\tlibvulkan.so.1 (libc6,x86-64) => /lib/libvulkan.so.1"
        )
        .loader
    );
    let arch = format!(
        "usr/lib/{}-linux-gnu/libvulkan.so.1",
        std::env::consts::ARCH
    );
    assert!(Root::new("loader-arch", &[&arch]).look(&[], "").loader);
    let own = Root::new("loader-own", &["opt/vulkan/libvulkan.so.1"]);
    assert!(!own.look(&[], "").loader);
    assert!(
        own.look(&[("LD_LIBRARY_PATH", "/x:/opt/vulkan")], "")
            .loader
    );
}

#[test]
fn drivers_are_found_as_the_loader_finds_them() {
    let root = Root::new(
        "drivers",
        &[
            LOADER,
            "data/vulkan/icd.d/lvp_icd.json",
            "home/u/.local/share/vulkan/icd.d/a.json",
        ],
    );
    assert!(root.look(&[], "").drivers.is_empty());
    assert_eq!(
        root.look(&[("XDG_DATA_DIRS", "/none:/data/")], "").drivers,
        ["lvp_icd.json"]
    );
    assert_eq!(root.look(&[("HOME", "/home/u")], "").drivers, ["a.json"]);
    // The loader then reads only the named file.
    let named = |value| root.look(&[("VK_ICD_FILENAMES", value), ("HOME", "/home/u")], "");
    let driver = named("/data/vulkan/icd.d/lvp_icd.json").usable().unwrap();
    assert!(
        driver.contains("VK_ICD_FILENAMES: lvp_icd.json"),
        "{driver}"
    );
    let reason = named("/gone.json").usable().unwrap_err();
    assert!(reason.contains("VK_ICD_FILENAMES names no file that exists (`/gone.json`)"));
    assert_eq!(named("").drivers, ["a.json"]);
    let newer = [
        ("VK_ICD_FILENAMES", "/gone"),
        ("VK_DRIVER_FILES", "/data/vulkan/icd.d/lvp_icd.json"),
    ];
    assert_eq!(root.look(&newer, "").drivers, ["lvp_icd.json"]);
}

#[test]
fn lines_and_commands() {
    let apt = &MANAGERS[0];
    assert_eq!(
        apt.line(),
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends \
         mesa-vulkan-drivers libvulkan1"
    );
    let commands: Vec<String> = apt
        .commands(&["sudo", "-n"])
        .iter()
        .map(|c| c.join(" "))
        .collect();
    let start = "sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300";
    assert_eq!(commands[0], format!("{start} update"));
    assert_eq!(
        commands[1],
        format!("{start} install -y --no-install-recommends mesa-vulkan-drivers libvulkan1")
    );
    assert_eq!(
        MANAGERS[2].commands(&[]),
        [[
            "pacman",
            "-Sy",
            "--noconfirm",
            "--needed",
            "vulkan-swrast",
            "vulkan-icd-loader"
        ]]
    );
    assert_eq!(
        MANAGERS[4].line(),
        "sudo apk add --update-cache mesa-vulkan-swrast vulkan-loader"
    );
}

#[cfg(unix)]
#[test]
fn only_the_last_commands_failure_is_reported() {
    let manager = |refresh, install| Manager {
        program: "sh",
        refresh,
        install,
        packages: "",
    };
    assert_eq!(manager("/no/such/script", "-c true").install(&[]), Ok(()));
    let message = manager("", "/no/such/script").install(&[]).unwrap_err();
    assert!(
        message.contains("$ sh /no/such/script") && message.contains("sudo sh"),
        "{message}"
    );
}
