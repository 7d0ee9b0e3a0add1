//! The Windows installers, in Wine: exit codes, switches, what is installed and what is left.
//!
//! The packages are those of `cargo xtask dist --test`; later versions are packed here from what they
//! install. What gets in the way of an installation is played by small programs that are compiled here.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use xtask::build::workspace;
use xtask::dist::nsis::{self, Signer};
use xtask::dist::packages_folder;
use xtask::dist::target::{Built, Job, Platform, Product};
use xtask::stage::{Bins, StageError, wait_until};
use xtask::wine::Wine;

/// A start of the server in Wine, on a busy machine.
const BOUND: Duration = Duration::from_secs(120);

/// Where the server of 32 bits lies.
const SERVER: &str = r"C:\Program Files (x86)\1C\Licence\v3.0";
/// Where the component of 64 bits lies, with its uninstaller.
const ADDIN: &str = r"C:\Program Files\1C\Licence\v3.0";
const DATA: &str = "ProgramData/1C/Licence";
const MENU: &str = "ProgramData/Microsoft/Windows/Start Menu/Programs/СЛК/3.0";
const RECORDS: &str = r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall";
const QUIET: [&str; 1] = ["/VERYSILENT"];

/// A program that fails at whatever it is told.
const BROKEN: &str = "int main(void) { return 1; }";

/// A program that writes the file it is given, holds the library it is given, and ends when it is ended.
const HOLDER: &str = r#"
#include <windows.h>
int main(int count, char **words) {
    if (count > 2 && !LoadLibraryA(words[2])) return 1;
    CloseHandle(CreateFileA(words[1], GENERIC_WRITE, 0, 0, CREATE_ALWAYS, 0, 0));
    WaitForSingleObject(GetCurrentThread(), INFINITE);
    return 0;
}"#;

/// A service that runs until it is told to stop.
const AGENT: &str = r#"
#include <windows.h>
static SERVICE_STATUS_HANDLE handle;
static HANDLE stop;
static void tell(DWORD state) {
    SERVICE_STATUS status = {SERVICE_WIN32_OWN_PROCESS, state, SERVICE_ACCEPT_STOP, 0, 0, 0, 0};
    SetServiceStatus(handle, &status);
}
static void WINAPI control(DWORD what) {
    if (what == SERVICE_CONTROL_STOP) SetEvent(stop);
}
static void WINAPI serve(DWORD count, char **words) {
    (void)count;
    (void)words;
    handle = RegisterServiceCtrlHandlerA("agent", control);
    tell(SERVICE_RUNNING);
    WaitForSingleObject(stop, INFINITE);
    tell(SERVICE_STOPPED);
}
int main(void) {
    stop = CreateEventA(0, 0, 0, 0);
    SERVICE_TABLE_ENTRYA table[] = {{"agent", serve}, {0, 0}};
    return !StartServiceCtrlDispatcherA(table);
}"#;

/// A person who says yes to every question, and else presses the button with this number.
const PERSON: &str = r##"
#include <stdlib.h>
#include <windows.h>
static BOOL CALLBACK press(HWND window, LPARAM button) {
    char class[16];
    if (GetClassNameA(window, class, sizeof class) && !lstrcmpA(class, "#32770")
        && IsWindowVisible(window)) {
        if (GetDlgItem(window, IDYES)) button = IDYES;
        HWND found = GetDlgItem(window, (int)button);
        if (found && IsWindowEnabled(found) && IsWindowEnabled(window))
            PostMessageA(window, WM_COMMAND, button, (LPARAM)found);
    }
    return TRUE;
}
int main(int count, char **words) {
    EnumWindows(press, count > 1 ? atoi(words[1]) : IDOK);
    return 0;
}"##;

fn target() -> PathBuf {
    std::path::absolute(Bins::find().unwrap().target()).unwrap()
}

/// The installer that `cargo xtask dist --test` has made, and its version.
fn packaged(product: Product) -> (PathBuf, String) {
    let version = env!("CARGO_PKG_VERSION");
    let file = packages_folder(&target()).join(nsis::file_name(product, version));
    assert!(file.is_file(), "{} is not there: run `cargo xtask dist --test` first", file.display());
    (file, version.to_owned())
}

/// Compiles a small program of 32 bits.
fn compile(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (text, program) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.exe")));
    std::fs::write(&text, source).unwrap();
    let status = Command::new("i686-w64-mingw32-gcc")
        .args(["-O1", "-o"])
        .args([&program, &text])
        .arg("-ladvapi32")
        .status()
        .expect("i686-w64-mingw32-gcc is needed");
    assert!(status.success(), "{name}");
    program
}

/// What is packed: programs in folders as they are built.
struct Parts {
    folder: TempDir,
    built: Vec<Built>,
}

impl Parts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = [Platform::Windows32, Platform::Windows64].map(|platform| {
            let folder = folder.path().join(platform.name());
            std::fs::create_dir(&folder).unwrap();
            Built { platform, folder }
        });
        Self { folder, built: built.to_vec() }
    }

    fn place(&self, platform: Platform, name: &str) -> PathBuf {
        self.folder.path().join(platform.name()).join(name)
    }

    /// Packs them; the installers by the order of [`Product::ALL`].
    fn pack(&self, version: &str, signer: Option<&Signer>) -> Vec<PathBuf> {
        let (root, out) = (workspace().unwrap(), self.folder.path().join(version));
        let work = self.folder.path().join("work");
        let job = Job { root: &root, work: &work, out: &out, version, moment: 1_700_000_000 };
        nsis::pack(&job, &self.built, signer, &mut std::io::sink()).unwrap()
    }
}

/// A version after that of the packages.
fn later(version: &str, by: u64) -> String {
    let mut version = semver::Version::parse(version).unwrap();
    version.pre = semver::Prerelease::EMPTY;
    version.patch += by;
    version.to_string()
}

/// Output is not taken: what a program starts and leaves behind, as Windows itself, would keep it open.
fn code<S: AsRef<std::ffi::OsStr>>(wine: &Wine, program: &Path, switches: &[S]) -> Option<i32> {
    let mut command = wine.command(program, switches);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
}

/// What a program of Windows prints; by a file, whose end nobody has to wait for.
fn printed(wine: &Wine, program: &str, words: &[&str]) -> String {
    let mut file = tempfile::tempfile().unwrap();
    let mut command = wine.command(program, words);
    command.stdout(file.try_clone().unwrap()).stderr(Stdio::null()).status().unwrap();
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

fn record(wine: &Wine, product: Product) -> String {
    printed(wine, "reg", &["query", &format!(r"{RECORDS}\{}", product.name()), "/reg:64"])
}

fn has_service(wine: &Wine, state: &str) -> bool {
    printed(wine, "sc", &["query", "licenceserver"]).contains(state)
}

/// Every file and folder below those that installers write into.
fn listing(wine: &Wine) -> BTreeSet<PathBuf> {
    fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries {
            let entry = entry.unwrap();
            found.insert(entry.path());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    for name in ["Program Files", "Program Files (x86)", "ProgramData", "Программы"] {
        walk(&wine.drive_c().join(name), &mut found);
    }
    found
}

/// Names in a folder of Windows.
fn names(wine: &Wine, folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(wine.linux_path(folder)) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The server's answer at `/api`; nothing when nobody listens.
fn answer(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(BOUND)).ok()?;
    stream.write_all(b"GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = Vec::new();
    // The other side may end the connection in a way that is an error here, after all was said.
    let _how_it_ended = stream.read_to_end(&mut text);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Whether our server answers there; to who gives no password it says who it is.
#[track_caller]
fn check_answers(port: u16) {
    let text = answer(port).unwrap_or_default();
    assert!(text.starts_with("HTTP/1.1 ") && text.contains("licenceserver"), "{text:?}");
}

/// Settings with a port that is free.
fn settle(wine: &Wine) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = wine.linux_path(DATA).join("3.0");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!("[Common]\r\nServerAddr=127.0.0.1\r\nServerPort={port}\r\n");
    std::fs::write(folder.join("licenceserver.conf"), text).unwrap();
    port
}

/// Runs an uninstaller, which answers before it is done, and waits until its folder is gone.
#[track_caller]
fn uninstall(wine: &Wine, folder: &str, name: &str, switches: &[&str]) {
    let program = format!(r"{folder}\{name}");
    assert_eq!(code(wine, Path::new(&program), switches), Some(0));
    let folder = wine.linux_path(folder);
    wait_until(BOUND, "the end of the uninstaller", || Ok((!folder.exists()).then_some(())))
        .unwrap();
    // The last thing that it does.
    let product = if name.contains("server") { Product::Server } else { Product::Addin };
    wait_until(BOUND, "the end of the record", || {
        Ok((!record(wine, product).contains("DisplayVersion")).then_some(()))
    })
    .unwrap();
}

#[test]
fn server_is_installed_upgraded_brought_back_and_removed() {
    let wine = Wine::start(&target()).unwrap();
    let before = listing(&wine);
    let port = settle(&wine);
    let (installer, version) = packaged(Product::Server);
    assert_eq!(code(&wine, &installer, &["/VERYSILENT", "/SUPPRESSMSGBOXES"]), Some(0));
    check_answers(port);
    assert!(has_service(&wine, "RUNNING"));
    assert_eq!(
        names(&wine, SERVER),
        [
            "licenceserver-LICENSE-APACHE.txt",
            "licenceserver-LICENSE-MIT.txt",
            "licenceserver.conf.sample",
            "licenceserver.exe",
            "uninstall-server.exe",
        ]
    );
    let shortcut = wine.linux_path(MENU).join("Server console.url");
    let shortcut = std::fs::read_to_string(shortcut).unwrap();
    assert!(shortcut.contains(&format!("URL=http://localhost:{port}/")), "{shortcut:?}");
    let installed = record(&wine, Product::Server);
    for word in [&version, "QuietUninstallString", "EstimatedSize", "Publisher"] {
        assert!(installed.contains(word), "{word} in {installed}");
    }
    assert_eq!(code(&wine, &installer, &QUIET), Some(100));

    let identity = || std::fs::read(wine.linux_path(DATA).join("3.0/identity.seal")).unwrap();
    let first = identity();
    let parts = Parts::new();
    let program = parts.place(Platform::Windows32, "licenceserver.exe");
    std::fs::copy(wine.linux_path(SERVER).join("licenceserver.exe"), &program).unwrap();
    let upgrade = later(&version, 1);
    assert_eq!(code(&wine, &parts.pack(&upgrade, None)[0], &["/verysilent"]), Some(0));
    check_answers(port);
    assert!(record(&wine, Product::Server).contains(&upgrade));
    assert_eq!(identity(), first);
    assert_eq!(code(&wine, &installer, &QUIET), Some(100), "the earlier version");

    std::fs::copy(compile(parts.folder.path(), "broken", BROKEN), &program).unwrap();
    let broken = &parts.pack(&later(&version, 2), None)[0];
    assert_eq!(code(&wine, broken, &QUIET), Some(4));
    check_answers(port);
    assert!(record(&wine, Product::Server).contains(&upgrade));
    assert_eq!(names(&wine, SERVER).len(), 5, "{:?}", names(&wine, SERVER));

    uninstall(&wine, SERVER, "uninstall-server.exe", &["/S"]);
    assert!(!has_service(&wine, "STATE"));
    assert_eq!(answer(port), None);
    assert_eq!(identity(), first);
    let data = wine.linux_path("ProgramData/1C");
    let left = listing(&wine).into_iter().filter(|path| !path.starts_with(&data));
    assert_eq!(left.collect::<BTreeSet<_>>(), before);

    assert_eq!(code(&wine, &installer, &QUIET), Some(0));
    check_answers(port);
    assert_eq!(identity(), first);
    uninstall(&wine, SERVER, "uninstall-server.exe", &["/verySilent", "/purgedata"]);
    assert_eq!(listing(&wine), before);
}

#[test]
fn failed_first_installation_leaves_nothing() {
    let wine = Wine::start(&target()).unwrap();
    let before = listing(&wine);
    let parts = Parts::new();
    let broken = compile(parts.folder.path(), "broken", BROKEN);
    std::fs::copy(broken, parts.place(Platform::Windows32, "licenceserver.exe")).unwrap();
    assert_eq!(code(&wine, &parts.pack("4.0.0", None)[0], &QUIET), Some(4));
    assert_eq!(listing(&wine), before);
    assert!(!has_service(&wine, "STATE"));
    assert!(!record(&wine, Product::Server).contains("DisplayVersion"));
}

#[test]
fn switches_are_read_in_any_case_and_order() {
    let mut wine = Wine::start(&target()).unwrap();
    wine.show().unwrap();
    let port = settle(&wine);
    let (installer, _) = packaged(Product::Server);
    // A switch that only begins like another is none of ours, and a relative folder is refused.
    for switches in [["/VerySilent", "/DIR=server"], ["/s", "/dir=\\server"]] {
        assert_eq!(code(&wine, &installer, &switches), Some(1), "{switches:?}");
    }
    let folder = r"C:\Программы\сервер лицензий 4";
    let log = wine.drive_c().join("setup.log");
    let into = format!("/DIR={folder}");
    let switches = [
        "/NORESTART",
        "/siLENT",
        "/CloseRunning",
        "/suppressMSGBOXES",
        &into,
        "/LANG=ru",
        r"/log=C:\setup.log",
    ];
    assert_eq!(code(&wine, &installer, &switches), Some(0));
    check_answers(port);
    assert!(names(&wine, folder).contains(&"licenceserver.exe".to_owned()));
    assert!(names(&wine, MENU).contains(&"Консоль сервера.url".to_owned()));
    let log: Vec<u16> = std::fs::read(log)
        .unwrap()
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let log = String::from_utf16(&log).unwrap();
    assert!(log.contains("Готово."), "{log}");
    uninstall(&wine, folder, "uninstall-server.exe", &["/SILENT"]);
    assert!(listing(&wine).iter().all(|path| !path.to_string_lossy().contains("СЛК")));
}

#[test]
fn person_goes_through_the_pages_or_turns_back() {
    let mut wine = Wine::start(&target()).unwrap();
    wine.show().unwrap();
    let port = settle(&wine);
    let (installer, _) = packaged(Product::Server);
    let folder = tempfile::tempdir().unwrap();
    let person = compile(folder.path(), "person", PERSON);
    // Presses a button again and again until the installer has ended.
    let through = |button: &str| {
        let mut running = wine.command(&installer, ["/LANG=en"]).spawn().unwrap();
        wait_until(BOUND, "the end of the installer", || {
            code(&wine, &person, &[button]);
            running.try_wait().map_err(|why| StageError::io(&installer, why))
        })
        .unwrap()
        .code()
    };
    assert_eq!(through("2"), Some(2));
    assert!(!wine.linux_path(SERVER).exists());
    assert_eq!(through("1"), Some(0));
    check_answers(port);
}

#[test]
fn component_waits_for_1c_unless_it_may_end_it() {
    let wine = Wine::start(&target()).unwrap();
    let before = listing(&wine);
    let (installer, version) = packaged(Product::Addin);
    assert_eq!(code(&wine, &installer, &["/VerySilent", r"/DIR=C:\other"]), Some(1));

    let folder = tempfile::tempdir().unwrap();
    let client = compile(folder.path(), "1cv8c", HOLDER);
    let agent = compile(folder.path(), "ragent", AGENT);
    let service = "1C:Enterprise 8.3 Server Agent";
    let image = format!("\"{}\" -srvc -agent", Wine::windows_path(&agent));
    printed(&wine, "sc", &["create", service, "binPath=", &image, "start=", "demand"]);
    let agent_runs = || printed(&wine, "sc", &["query", service]).contains("RUNNING");
    wait_until(BOUND, "the agent", || {
        // Refused while Windows itself is starting.
        printed(&wine, "sc", &["start", service]);
        Ok(agent_runs().then_some(()))
    })
    .unwrap();
    let mut running = start_holder(&wine, &client, &[]);
    assert_eq!(code(&wine, &installer, &["/VERYSILENT", "/SUPPRESSMSGBOXES"]), Some(7));
    assert_eq!(listing(&wine), before);
    assert!(running.try_wait().unwrap().is_none(), "the client was ended");

    assert_eq!(code(&wine, &installer, &["/verysilent", "/CLOSErunning"]), Some(0));
    let ended = || running.try_wait().map_err(|why| StageError::io(&client, why));
    wait_until(BOUND, "the end of the client", ended).unwrap();
    assert!(agent_runs(), "the agent was not started again");
    let folder32 = r"C:\Program Files (x86)\1C\Licence\v3.0";
    assert_eq!(names(&wine, folder32), ["licenceaddin.dll"]);
    assert_eq!(
        names(&wine, ADDIN),
        [
            "licenceaddin-LICENSE-APACHE.txt",
            "licenceaddin-LICENSE-MIT.txt",
            "licenceaddin-x86_64.dll",
            "licenceaddin.conf.sample",
            "uninstall-addin.exe",
        ]
    );
    assert!(record(&wine, Product::Addin).contains(&version));
    assert_eq!(code(&wine, &installer, &QUIET), Some(100), "asked before the processes are");

    // A program that is none of 1C's holds the library: the rest waits for the next start.
    printed(&wine, "sc", &["stop", service]);
    wait_until(BOUND, "the agent's end", || Ok((!agent_runs()).then_some(()))).unwrap();
    let parts = Parts::new();
    for (platform, folder, name) in [
        (Platform::Windows32, folder32, "licenceaddin.dll"),
        (Platform::Windows64, ADDIN, "licenceaddin-x86_64.dll"),
    ] {
        let library = wine.linux_path(folder).join(name);
        std::fs::copy(library, parts.place(platform, "licenceaddin.dll")).unwrap();
    }
    let holder = compile(folder.path(), "w3wp", HOLDER);
    let library = format!(r"{folder32}\licenceaddin.dll");
    let mut held = start_holder(&wine, &holder, &[&library]);
    let upgrade = parts.pack(&later(&version, 1), None);
    let [upgrade] = &upgrade[..] else { panic!("a server was packed of nothing") };
    assert_eq!(code(&wine, upgrade, &QUIET), Some(8));
    assert_eq!(names(&wine, folder32), ["licenceaddin.dll", "licenceaddin.dll.old1"]);
    wine.shut_down().unwrap();
    held.wait().unwrap();
    wine.linux_command("wineboot").output().unwrap();
    let clean = || Ok((names(&wine, folder32) == ["licenceaddin.dll"]).then_some(()));
    wait_until(BOUND, "the end of the old library", clean).unwrap();

    uninstall(&wine, ADDIN, "uninstall-addin.exe", &["/S"]);
    assert_eq!(listing(&wine), before);
}

/// Starts a program that says, by a file, when it is ready.
fn start_holder(wine: &Wine, program: &Path, words: &[&str]) -> std::process::Child {
    let ready = wine.drive_c().join("ready.txt");
    let _none_before = std::fs::remove_file(&ready);
    let words: Vec<_> = [r"C:\ready.txt"].iter().chain(words).collect();
    let child = wine.command(program, words).spawn().unwrap();
    wait_until(BOUND, "a program to hold", || Ok(ready.exists().then_some(()))).unwrap();
    child
}

#[test]
fn same_files_give_the_same_installers() {
    let made = [(); 2].map(|()| {
        let parts = Parts::new();
        let broken = compile(parts.folder.path(), "broken", BROKEN);
        let program = parts.place(Platform::Windows32, "licenceserver.exe");
        // Without the compiler's own time.
        std::fs::write(&program, vec![7; std::fs::read(broken).unwrap().len()]).unwrap();
        std::fs::write(parts.place(Platform::Windows64, "licenceaddin.dll"), [9; 999]).unwrap();
        let made = parts.pack("4.0.0-rc.1", None);
        made.iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(made[0].len(), 2);
    assert!(made[0] == made[1], "two installers of the same files differ");
}

#[test]
fn signature_of_an_installer_verifies_and_one_of_another_does_not() {
    let parts = Parts::new();
    let folder = parts.folder.path();
    let sign = |name: &str| {
        let place = |ending: &str| folder.join(format!("{name}.{ending}"));
        let (pem, secret, pfx, password) = (place("pem"), place("key"), place("pfx"), place("txt"));
        std::fs::write(&password, "only for this test").unwrap();
        openssl(
            &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"],
            |call| {
                call.arg(format!("/CN={name}")).args(["-addext", "extendedKeyUsage=codeSigning"]);
                call.arg("-keyout").arg(&secret).arg("-out").arg(&pem);
            },
        );
        openssl(&["pkcs12", "-export", "-passout"], |call| {
            call.arg(format!("file:{}", password.display())).arg("-in").arg(&pem);
            call.arg("-inkey").arg(&secret).arg("-out").arg(&pfx);
        });
        (pem, Signer { certificate: pfx, password, stamps: None })
    };
    let (ours, signer) = sign("ours");
    let (others, _) = sign("others");
    let broken = compile(folder, "broken", BROKEN);
    std::fs::copy(broken, parts.place(Platform::Windows32, "licenceserver.exe")).unwrap();
    let installer = &parts.pack("4.0.0", Some(&signer))[0];
    let program = folder.join("work/windows/licenceserver/licenceserver-x86.exe");
    let verified = |file: &Path, root: &Path| {
        let mut verify = Command::new("osslsigncode");
        verify.arg("verify").arg("-CAfile").arg(root).arg("-in").arg(file);
        verify.output().expect("osslsigncode is needed").status.success()
    };
    assert!(verified(installer, &ours));
    assert!(verified(&program, &ours));
    assert!(!verified(installer, &others));
    let mut spoiled = std::fs::read(installer).unwrap();
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 1;
    let copy = folder.join("spoiled.exe");
    std::fs::write(&copy, spoiled).unwrap();
    assert!(!verified(&copy, &ours));
}

fn openssl(words: &[&str], add: impl FnOnce(&mut Command)) {
    let mut command = Command::new("openssl");
    add(command.args(words));
    let output = command.output().expect("openssl is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
