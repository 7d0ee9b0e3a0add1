//! Tokens in memory: a stand-in for USB, the smart card service and the card behind them, which have
//! tests of their own. A test plugs in, pulls and breaks them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use licence_core::holder::TokenKey;
use licence_token::apdu::{Place, TokenError, Via};
use licenceserver::tokens::{Found, TokenPort};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// A token whose key lies in memory.
#[derive(Clone)]
pub(crate) struct SoftToken(Arc<Card>);

struct Card {
    pair: EcdsaKeyPair,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    document: Option<String>,
    /// What every call gives instead of an answer.
    fails: Option<TokenError>,
    /// Signs what nobody has asked for.
    is_forging: bool,
    has_room: bool,
    reads: usize,
    signatures: usize,
}

impl SoftToken {
    pub(crate) fn make() -> Self {
        let (random, alg) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let der = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(alg, der.as_ref(), &random).unwrap();
        let state = State { has_room: true, ..State::default() };
        Self(Arc::new(Card { pair, state: Mutex::new(state) }))
    }

    pub(crate) fn key(&self) -> TokenKey {
        TokenKey::from_point(self.0.pair.public_key().as_ref()).unwrap()
    }

    pub(crate) fn blank_no(&self) -> u32 {
        self.key().blank_no()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(crate) fn document(&self) -> Option<String> {
        self.state().document.clone()
    }

    pub(crate) fn put(&self, document: &str) {
        self.state().document = Some(document.to_owned());
    }

    pub(crate) fn fail(&self, with: Option<TokenError>) {
        self.state().fails = with;
    }

    pub(crate) fn forge(&self) {
        self.state().is_forging = true;
    }

    pub(crate) fn fill(&self) {
        self.state().has_room = false;
    }

    pub(crate) fn reads(&self) -> usize {
        self.state().reads
    }

    pub(crate) fn signatures(&self) -> usize {
        self.state().signatures
    }
}

/// The ports of a computer.
#[derive(Clone, Default)]
pub(crate) struct Bus(Arc<Mutex<BTreeMap<Place, SoftToken>>>);

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

fn place(number: u32) -> Place {
    Place { via: Via::Usb, id: format!("1-{number}"), name: format!("soft token {number}") }
}

impl Bus {
    pub(crate) fn plug(&self, number: u32, token: &SoftToken) {
        self.0.lock().unwrap().insert(place(number), token.clone());
    }

    pub(crate) fn pull(&self, number: u32) {
        self.0.lock().unwrap().remove(&place(number));
    }

    fn token(&self, place: &Place) -> Result<SoftToken, TokenError> {
        let token = self.0.lock().unwrap().get(place).cloned().ok_or(TokenError::Gone)?;
        let fails = token.state().fails.clone();
        fails.map_or(Ok(token), Err)
    }
}

impl TokenPort for Bus {
    fn places(&self) -> Result<Vec<Place>, TokenError> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn read(&self, place: &Place) -> Result<Found, TokenError> {
        if let Some(token) = self.0.lock().unwrap().get(place) {
            token.state().reads += 1;
        }
        let token = self.token(place)?;
        let document = token.document();
        Ok(Found { key: Some(token.key()), document, name: place.name.clone() })
    }

    fn sign(
        &self,
        place: &Place,
        _key: &TokenKey,
        messages: &[&[u8]],
    ) -> Result<Vec<[u8; 64]>, TokenError> {
        let token = self.token(place)?;
        token.state().signatures += messages.len();
        let is_forging = token.state().is_forging;
        let sign = |message: &&[u8]| {
            let message = if is_forging { b"else".as_slice() } else { message };
            let signature = token.0.pair.sign(&SystemRandom::new(), message).unwrap();
            signature.as_ref().try_into().unwrap()
        };
        Ok(messages.iter().map(sign).collect())
    }

    fn attestation(&self, place: &Place) -> Result<Vec<Vec<u8>>, TokenError> {
        self.token(place)?;
        Ok(vec![b"certificate".to_vec()])
    }

    fn store(&self, place: &Place, document: Option<&str>) -> Result<(), TokenError> {
        let token = self.token(place)?;
        if document.is_some() && !token.state().has_room {
            return Err(TokenError::TooLarge { bytes: 2000, bytes_max: 1000 });
        }
        token.state().document = document.map(str::to_owned);
        Ok(())
    }
}
