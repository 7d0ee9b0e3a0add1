//! A server in this process: real driver, real database in a fresh folder, real licences signed
//! by a test series. Only sockets are missing unless a test opens them.

#![expect(dead_code, reason = "each test file uses its part")]

pub(crate) mod pinned;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::holder::Holder;
use licence_core::key::{Flags, KeyKind, KeyNo, KeySeries};
use licence_core::licence_file::{LICENCE_FORMAT, LicenceClaims, LicenceFields};
use licence_core::seal::SigningKey;
use licence_core::series::SeriesDescriptor;
use licence_core::wrap::WrapKey;
use licenceserver::api::{self, App, Control, Peer};
use licenceserver::app::{self, TokenAccess};
use licenceserver::config::{Config, IniSource};
use licenceserver::identity::Identity;
use licenceserver::paths::Paths;
use licenceserver::settings::Settings;
use serde_json::Value;

/// The test series of the manual.
pub(crate) const SERIES: u16 = 0x672B;
pub(crate) const SERIES_SEED: [u8; 32] = [11; 32];
const IDENTITY_SEED: [u8; 32] = [12; 32];

/// X25519 secret of the test series.
pub(crate) const OBJECT_SECRET: [u8; 32] = [9; 32];

/// A running server; its folder goes when it goes.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) identity: Arc<Identity>,
    _dir: tempfile::TempDir,
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub(crate) fn series_key() -> SigningKey {
    SigningKey::from_seed(&SERIES_SEED)
}

/// Descriptor of the test series, with the address of a centre.
pub(crate) fn descriptor(centre_url: Option<String>) -> SeriesDescriptor {
    let object = WrapKey::from_secret(&OBJECT_SECRET).jwk();
    SeriesDescriptor::new(
        KeySeries::from_u16(SERIES),
        "Тестовая серия".into(),
        centre_url,
        series_key().public(),
        object,
    )
}

pub(crate) fn code(secret: u128) -> ActivationCode {
    ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(SERIES), secret)
}

/// A licence of the test series, bound to `holder`.
pub(crate) fn licence(holder: impl Into<Holder>, key_no: u32, seats: u32) -> String {
    let activated = "2018-03-30T21:00:00.414Z".parse().unwrap();
    let fields = LicenceFields {
        version: LICENCE_FORMAT.to_owned(),
        key_no: KeyNo(key_no),
        key_id: KeySeries::from_u16(SERIES),
        reg_no: Some(202),
        key_type: KeyKind::Main.code(),
        service_type: 0,
        licence_count: seats,
        product_version: 0,
        blank_key_no: None,
        activation_code: code(u128::from(key_no)),
        activation_date: activated,
        start_date: None,
        period: 0,
        expire_date: None,
        flags: Flags(0),
        itn: Some("1234567890".into()),
        iec: None,
        product_name: "Тестовая серия".into(),
        article: Some("1111111111111".into()),
        article_name: Some("Тестовая номенклатура".into()),
        parameters: Default::default(),
        support: Default::default(),
    };
    LicenceClaims::new(format!("l{key_no}"), activated, holder, fields).sign(&series_key()).unwrap()
}

/// Starts a server with these settings and one key 7131766 of five seats.
pub(crate) fn start(conf: &str) -> Server {
    start_with(conf, Some(&descriptor(None)), &[(7_131_766, 5)])
}

/// Starts a server with these settings, series and keys.
pub(crate) fn start_with(
    conf: &str,
    series: Option<&SeriesDescriptor>,
    keys: &[(u32, u32)],
) -> Server {
    start_as(IDENTITY_SEED, conf, series, keys)
}

/// Starts a server of a certain identity with these settings, series and keys.
pub(crate) fn start_as(
    seed: [u8; 32],
    conf: &str,
    series: Option<&SeriesDescriptor>,
    keys: &[(u32, u32)],
) -> Server {
    let own = Identity::from_seed(seed).public();
    let keys: Vec<_> =
        keys.iter().map(|(key_no, seats)| (*key_no, licence(own, *key_no, *seats))).collect();
    start_with_tokens(seed, conf, series, &keys, None)
}

/// Starts a server of a certain identity with these settings, series, licences and tokens; without
/// tokens, with those of this computer.
pub(crate) fn start_with_tokens(
    seed: [u8; 32],
    conf: &str,
    series: Option<&SeriesDescriptor>,
    licences: &[(u32, String)],
    tokens: Option<TokenAccess>,
) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    let identity = Arc::new(Identity::from_seed(seed));
    std::fs::create_dir_all(paths.settings()).unwrap();
    std::fs::create_dir_all(paths.keys()).unwrap();
    let source = IniSource::parse(Path::new("licenceserver.conf"), conf.into()).unwrap();
    let config = Config::from_source(&source).unwrap();
    if !conf.is_empty() {
        std::fs::write(paths.conf(), conf).unwrap();
    }
    let settings = Settings::new(paths.conf(), config);
    let config = settings.get();
    if let Some(series) = series {
        let text = serde_json::to_string(series).unwrap();
        std::fs::write(paths.series(&config.series_file), text).unwrap();
    }
    for (key_no, document) in licences {
        let name = format!("{SERIES:04X}.{key_no}.licence");
        std::fs::write(paths.keys().join(name), document).unwrap();
    }
    let tokens = tokens.or_else(|| TokenAccess::of(&settings));
    let (identity_of, control) = (Arc::clone(&identity), Control::default());
    let opened = app::open_with(&paths, settings, identity_of, control, None, tokens);
    let mut app = opened.unwrap().app;
    // As in the samples of the manual.
    app.started = "2018-04-02T20:41:13.272Z".parse().unwrap();
    Server { app: Arc::new(app), identity, _dir: dir }
}

/// Starts a server on the data that are in a folder.
pub(crate) fn start_in(dir: tempfile::TempDir) -> Server {
    let paths = Paths::new(dir.path());
    let identity = Arc::new(Identity::load_or_make(&paths.identity()).unwrap());
    let settings = Settings::load(paths.conf()).unwrap();
    let opened = app::open(&paths, settings, Arc::clone(&identity), Control::default(), None);
    Server { app: Arc::new(opened.unwrap().app), identity, _dir: dir }
}

/// `Basic` credentials.
pub(crate) fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// A request of the administrator of the manual.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("Authorization", basic("admin:admin"))
        .body(Full::from(body.to_owned()))
        .unwrap()
}

pub(crate) const LOCAL: Peer = Peer { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), is_tls: false };
pub(crate) const LOCAL_TLS: Peer = Peer { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), is_tls: true };

impl Server {
    /// The same data opened again by the same identity; the first one must have been stopped.
    pub(crate) async fn again(self) -> Self {
        let Self { app, identity, _dir } = self;
        let open = || {
            let settings = Settings::new(app.paths.conf(), Config::clone(&app.settings.get()));
            let control = Control::default();
            app::open(&app.paths, settings, Arc::clone(&identity), control, None)
        };
        // The data are free a moment after the driver has ended.
        let opening = async {
            loop {
                match open() {
                    Ok(opened) => return opened.app,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let opened = tokio::time::timeout(std::time::Duration::from_secs(20), opening).await;
        Self { app: Arc::new(opened.unwrap()), identity, _dir }
    }

    /// Sends one request, without a socket.
    pub(crate) async fn send(&self, peer: Peer, request: Request<Full<Bytes>>) -> Answered {
        let answer = api::serve(&self.app, peer, request).await;
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answered {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// One call of the REST API as `admin`.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answered {
        self.send(LOCAL, request(method, path, body)).await
    }

    /// One message of a component.
    pub(crate) async fn message(&self, path: &str, body: &Value) -> Answered {
        let request = Request::post(path).body(Full::from(body.to_string())).unwrap();
        self.send(LOCAL_TLS, request).await
    }

    /// A connection of a component; its id.
    pub(crate) async fn connect(&self) -> String {
        let body = serde_json::json!({"KeyID": "672B", "Info": sample_connection_info()});
        let answer = self.message("/client/v1/connect", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["ID"].as_str().unwrap().to_owned()
    }

    /// A session of that connection; its id.
    pub(crate) async fn open(&self, connection: &str, number: u32) -> Answered {
        let body = serde_json::json!({
            "Connection": connection,
            "Session": {
                "SessionNumber": number.to_string(),
                "IsServer": true,
                "InfoBaseConnectionStr": "Srvr=\"s\";Ref=\"demo\";",
                "AppName": "1CV8C",
                "ComputerName": "MORA-HP",
                "UserName": null,
                "SessionStarted": "2018-04-03T14:06:58.000Z",
                "TerminalClient": null
            }
        });
        self.message("/client/v1/open", &body).await
    }
}

/// What the manual's sample of a connection says of its component.
pub(crate) fn sample_connection_info() -> Value {
    serde_json::json!({
        "OSVersion": "Windows 10 10.0.16299 (x86_64)",
        "ComputerName": "MORA-HP",
        "LocalIP": "192.168.56.1,192.168.1.38",
        "Process": "C:\\Program Files (x86)\\1cv8\\8.3.11.2954\\bin\\1cv8c.exe",
        "CPU": "i386",
        "PID": "8236",
        "IsServer": true,
        "PlatformVersion": "8.3.11.2954",
        "ModuleName": "C:\\Users\\MORA\\AppData\\Local\\Temp\\v8_3F2F_d.tmp",
        "Version": "3.0.15.7522",
        "TerminalClient": null
    })
}
