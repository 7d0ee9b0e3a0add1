//! A real activation centre in this process, on loopback, that sells the test series.

use std::sync::Arc;

use licence_core::activation::ActivationCode;
use licence_core::activation_request::audience;
use licence_core::key::KeySeries;
use licence_core::series::SeriesDescriptor;
use licencecentre::access::gate::Gate;
use licencecentre::access::{Actor, Role};
use licencecentre::api::Centre;
use licencecentre::attestation::Roots;
use licencecentre::books::Books;
use licencecentre::folder::AdminToken;
use licencecentre::series::{Series, SeriesSet};
use licencecentre::store::Store;
use licencekit::secret::SeriesSecret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{OBJECT_SECRET, SERIES, SERIES_SEED, descriptor};

pub(crate) struct Vendor {
    pub(crate) url: String,
    pub(crate) books: Books,
    _dir: tempfile::TempDir,
}

impl Vendor {
    pub(crate) async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut set = SeriesSet::new();
        let series = KeySeries::from_u16(SERIES);
        let secret = SeriesSecret::from_bytes(series, SERIES_SEED, OBJECT_SECRET);
        let sold = Series::new(&secret, descriptor(Some(url.clone())));
        set.insert(series, sold);
        let series = Arc::new(set);
        let store = Store::open(&dir.path().join("centre.db")).unwrap();
        let (books, _thread) = Books::start(store, Arc::clone(&series)).unwrap();
        let centre = Centre {
            books: books.clone(),
            series,
            token: AdminToken::new(b"unused"),
            audience: audience(&url),
            gate: Gate::new(false, licencecentre::clock::mono),
            roots: Roots::default(),
            now: licencecentre::clock::utc_now,
        };
        let served = licencecentre::http::serve(listener, Arc::new(centre), std::future::pending());
        tokio::spawn(served);
        Self { url, books, _dir: dir }
    }

    pub(crate) fn descriptor(&self) -> SeriesDescriptor {
        descriptor(Some(self.url.clone()))
    }

    pub(crate) async fn sell(&self, more: Value) -> ActivationCode {
        let mut order = json!({"Series": "672B", "Kind": "main", "Seats": 2});
        for (name, value) in more.as_object().unwrap() {
            order[name] = value.clone();
        }
        let order = serde_json::from_value(order).unwrap();
        let now = licencecentre::clock::utc_now();
        self.books.add_order(order, vendor(), now).await.unwrap().codes[0].code
    }

    /// Carries a request file to the centre; the answer file.
    pub(crate) async fn carry(&self, request: &str) -> String {
        let (url, body) = (format!("{}/api/requests", self.url), json!({ "Request": request }));
        let answer = tokio::task::spawn_blocking(move || {
            let mut answer = ureq::post(&url).send_json(&body).unwrap();
            answer.body_mut().read_to_string().unwrap()
        });
        answer.await.unwrap()
    }
}

/// The vendor, whose program takes the orders.
fn vendor() -> Actor {
    Actor { name: "tests".to_owned(), role: Some(Role::Admin), from: None }
}
