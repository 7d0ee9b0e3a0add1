//! Tests of the parts of a computer with Linux, on folders that look like those of the kernel.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A device as the kernel shows it: a link in `class` to a folder below `devices`.
    fn device(&self, class: &str, name: &str, bus: &str, files: &[(&str, &str)]) {
        let real = format!("sys/devices/{bus}/{name}");
        fs::create_dir_all(self.0.path().join(&real).join("device")).unwrap();
        for (file, text) in files {
            self.file(&format!("{real}/{file}"), text);
        }
        let folder = self.0.path().join(class);
        fs::create_dir_all(&folder).unwrap();
        symlink(self.0.path().join(real), folder.join(name)).unwrap();
    }

    fn read(&self) -> Found {
        read(self.0.path(), &self.0.path().join("3.0/identity.seal"))
    }

    fn check(&self, kind: PartKind, expected: &[&str]) {
        let found = self.read();
        let values: Vec<_> = found.parts.iter().filter(|part| part.kind == kind).collect();
        let expected: Vec<_> = expected.iter().map(|value| Part::new(kind, value)).collect();
        // Values are shown to nobody, tests included.
        assert!(values.iter().copied().eq(expected.iter()), "{kind:?}: {} found", values.len());
    }
}

#[test]
fn firmware_system_and_processor_are_read() {
    let fake = Fake::new();
    fake.file("sys/class/dmi/id/product_uuid", "4c4c4544-0042-3510-8052-b4c04f4a3132\n");
    fake.file("sys/class/dmi/id/board_serial", "/5J0PQ2/CN7016357/\n");
    fake.file("sys/class/dmi/id/chassis_serial", "To be filled by O.E.M.\n");
    fake.file("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
    fake.file(
        "proc/cpuinfo",
        "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2445.4\n\n\
         processor\t: 1\nvendor_id\t: AuthenticAMD\n",
    );
    fake.check(PartKind::System, &["4C4C4544-0042-3510-8052-B4C04F4A3132"]);
    fake.check(PartKind::Board, &["/5J0PQ2/CN7016357/"]);
    fake.check(PartKind::Chassis, &[]);
    fake.check(PartKind::MachineId, &["3d1219c7c4c5404aaa1f6d2a48adfda4"]);
    fake.check(PartKind::Cpu, &["vendor_id=AuthenticAMD;model name=AMD EPYC"]);
}

#[test]
fn only_cards_of_their_own_address_count() {
    let fake = Fake::new();
    let class = "sys/class/net";
    let card = |address| [("address", address), ("addr_assign_type", "0\n")];
    fake.device(class, "eth0", "pci0000:00", &card("52:54:00:12:34:56\n"));
    fake.device(class, "eth1", "pci0000:00", &card("00:00:00:00:00:00\n"));
    fake.device(
        class,
        "wlan0",
        "pci0000:00",
        &[("address", "da:a1:19:00:11:22"), ("addr_assign_type", "3")],
    );
    fake.device(class, "enx1", "pci0000:00/usb1/1-1", &card("00:e0:4c:68:01:02"));
    fake.device(
        class,
        "bond0p",
        "pci0000:00",
        &[
            ("address", "52:54:00:99:99:99"),
            ("addr_assign_type", "3"),
            ("bonding_slave/perm_hwaddr", "52:54:00:77:77:77"),
        ],
    );
    // A bridge: no device stands behind it.
    fake.file("sys/class/net/br0/address", "02:42:ac:11:00:02");
    fake.check(PartKind::NetworkCard, &["52:54:00:77:77:77", "52:54:00:12:34:56"]);
}

#[test]
fn disks_count_by_the_best_number_they_have_and_sticks_do_not() {
    let fake = Fake::new();
    let class = "sys/block";
    fake.device(class, "nvme0n1", "pci", &[("wwid", "eui.0025385b21404321"), ("removable", "0")]);
    fake.device(class, "sda", "pci", &[("device/wwid", "naa.5002538f3140d07d")]);
    fake.device(class, "sdb", "pci/usb2", &[("device/wwid", "naa.5000c500a1b2c3d4")]);
    fake.device(
        class,
        "sdc",
        "pci",
        &[("device/wwid", "naa.5000c500aaaaaaa1"), ("removable", "1")],
    );
    fake.device(class, "sdd", "pci", &[("device/wwid", "t10.ATA QEMU HARDDISK QM00001")]);
    fake.device(class, "vda", "pci", &[("serial", "vol0f8e2c9ad1c4e1f77")]);
    fake.device(class, "vdb", "pci", &[("dev", "254:16")]);
    fake.device(class, "vdc", "pci", &[("dev", "254:32")]);
    fake.file("run/udev/data/b254:16", "S:disk/by-x\nE:ID_MODEL=x\nE:ID_SERIAL=7c4e1f77-disk\n");
    fake.check(
        PartKind::Disk,
        &["eui.0025385b21404321", "naa.5002538f3140d07d", "vol0f8e2c9ad1c4e1f77", "7c4e1f77-disk"],
    );
}

#[test]
fn volume_of_the_data_counts_with_and_without_records_of_udev() {
    use std::os::unix::fs::MetadataExt;
    let fake = Fake::new();
    let folder = fake.0.path();
    let by_kernel = host::volume_id(folder).map(|id| format!("{id:016x}"));
    fake.check(PartKind::FileSystem, &by_kernel.iter().map(String::as_str).collect::<Vec<_>>());
    let device = fs::metadata(folder).unwrap().dev();
    let record = format!("run/udev/data/b{}:{}", libc::major(device), libc::minor(device));
    fake.file(&record, "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=2c5a8f0e-9c1b-4f43-a6b8-5d9f54b6a001\n");
    fake.check(PartKind::FileSystem, &["2c5a8f0e-9c1b-4f43-a6b8-5d9f54b6a001"]);
}

#[test]
fn what_only_root_reads_is_not_for_the_seal_of_another_user() {
    let fake = Fake::new();
    let uuid = "4c4c4544-0042-3510-8052-b4c04f4a3132";
    let path = fake.file("sys/class/dmi/id/product_uuid", uuid);
    fake.file("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
    let found = fake.read();
    assert!(found.root_only.contains(&PartKind::System));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity.seal");
    let kinds = |found: &Found| {
        let kinds: Vec<_> = found.to_seal(&file).iter().map(|part| part.kind).collect();
        kinds.contains(&PartKind::System)
    };
    assert!(kinds(&found), "one's own folder");
    // Only root can make the folder of somebody else.
    let is_given = std::os::unix::fs::chown(folder.path(), Some(65_534), None).is_ok();
    assert_eq!(kinds(&found), !is_given);
}

#[test]
fn endless_and_binary_files_are_cut_off() {
    let fake = Fake::new();
    fake.file("sys/class/dmi/id/board_serial", &"9a".repeat(1 << 20));
    fs::create_dir_all(fake.0.path().join("etc")).unwrap();
    fs::write(fake.0.path().join("etc/machine-id"), [0xff, 0xfe, 0, 1]).unwrap();
    let found = fake.read();
    assert!(found.parts.iter().any(|part| part.kind == PartKind::Board));
}

#[test]
fn parts_of_this_computer_are_stable() {
    let dir = tempfile::tempdir().unwrap();
    let read_here = || read(Path::new("/"), &dir.path().join("identity.seal"));
    let found = read_here();
    assert_eq!(found.parts, read_here().parts);
    assert!(found.parts.iter().any(|part| part.kind != PartKind::Cpu), "nothing to seal to");
}
