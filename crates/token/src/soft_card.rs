//! A PIV card in memory, for tests: a stand-in for a token, written by the same hands as what it tests.
//! Proof by an independent implementation is elsewhere (`token-peer`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use licence_core::holder::TokenKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};

use crate::apdu::{Exchange, Place, TokenError, Transport, Via};
use crate::piv::management::{Algorithm, ManagementKey};
use crate::tlv;
use crate::tokens::Readers;

/// A card; its fields are what a test looks at or turns.
pub(crate) struct SoftCard {
    pub(crate) key: Option<SigningKey>,
    pub(crate) objects: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) management: ManagementKey,
    pub(crate) algorithm: Algorithm,
    /// Whether F7 names algorithms and the public key, as YubiKeys do.
    pub(crate) tells: bool,
    /// Bytes of one part of an answer.
    pub(crate) part_bytes: usize,
    /// Writes that are carried out before the card is "unplugged".
    pub(crate) writes_left: usize,
    /// What F9 answers with.
    pub(crate) attestation: Option<Vec<u8>>,
    pub(crate) writes: usize,
    seed: u8,
    challenge: Option<Vec<u8>>,
    authenticated: bool,
    chained: Vec<u8>,
    pending: VecDeque<u8>,
}

impl SoftCard {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            key: None,
            objects: BTreeMap::new(),
            management: ManagementKey::factory(),
            algorithm: Algorithm::TripleDes,
            tells: true,
            part_bytes: 256,
            writes_left: usize::MAX,
            attestation: None,
            writes: 0,
            seed,
            challenge: None,
            authenticated: false,
            chained: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    /// One that says of its keys no more than that they are there.
    pub(crate) fn silent(seed: u8) -> Self {
        Self { tells: false, part_bytes: 100, ..Self::new(seed) }
    }

    pub(crate) fn public(&self) -> TokenKey {
        let key = self.key.as_ref().unwrap().verifying_key().to_encoded_point(false);
        TokenKey::from_point(key.as_bytes()).unwrap()
    }

    fn run(&mut self, ins: u8, p1: u8, p2: u8, data: &[u8]) -> Result<Vec<u8>, u16> {
        let value = |data: &[u8], tag| tlv::find(data, tag).ok().flatten().map(<[u8]>::to_vec);
        match (ins, p1, p2) {
            (0xA4, 4, 0) if data.starts_with(&[0xA0, 0, 0, 3, 8]) => {
                self.authenticated = false;
                Ok(tlv::element(0x61, &[]))
            }
            (0xF7, 0, 0x9B) if self.tells => Ok(tlv::element(1, &[self.algorithm.number()])),
            (0xF7, 0, 0x9B) => Ok(Vec::new()),
            (0xF7, 0, 0x9E) => match &self.key {
                None if self.tells => Err(0x6A88),
                None => Ok(Vec::new()),
                Some(_) if !self.tells => Ok(tlv::element(2, &[1, 0])),
                Some(_) => {
                    let point = tlv::element(0x86, self.public().as_bytes());
                    Ok([tlv::element(1, &[0x11]), tlv::element(4, &point)].concat())
                }
            },
            (0xF8, 0, 0) => Ok(vec![0, 0, 1, self.seed]),
            (0xF9, 0x9E, 0) => self.attestation.clone().ok_or(0x6D00),
            (0xCB, 0x3F, 0xFF) => {
                let name = value(data, 0x5C).ok_or(0x6A80_u16)?;
                let object = self.objects.get(&name).ok_or(0x6A82_u16)?;
                Ok(tlv::element(0x53, object))
            }
            (0xDB, 0x3F, 0xFF) if !self.authenticated => Err(0x6982),
            (0xDB, 0x3F, 0xFF) => {
                let name = value(data, 0x5C).ok_or(0x6A80_u16)?;
                let object = value(data, 0x53).ok_or(0x6A80_u16)?;
                self.objects.insert(name, object);
                self.writes += 1;
                Ok(Vec::new())
            }
            (0x47, 0, 0x9E) if !self.authenticated => Err(0x6982),
            (0x47, 0, 0x9E) => {
                self.key = Some(SigningKey::from_slice(&[self.seed; 32]).unwrap());
                Ok(tlv::element(0x7F49, &tlv::element(0x86, self.public().as_bytes())))
            }
            (0x87, 0x11, 0x9E) => {
                let key = self.key.as_ref().ok_or(0x6A88_u16)?;
                let template = value(data, 0x7C).ok_or(0x6A80_u16)?;
                let digest = value(&template, 0x81).ok_or(0x6A80_u16)?;
                let signature: Signature = key.sign_prehash(&digest).map_err(|_| 0x6A80_u16)?;
                let der = signature.to_der();
                Ok(tlv::element(0x7C, &tlv::element(0x82, der.as_bytes())))
            }
            (0x87, number, 0x9B) if number == self.algorithm.number() => {
                let template = value(data, 0x7C).ok_or(0x6A80_u16)?;
                if let Some(response) = value(&template, 0x82) {
                    let challenge = self.challenge.take().ok_or(0x6985_u16)?;
                    let wanted = self.algorithm.encrypt(&self.management, &challenge);
                    self.authenticated = wanted == Some(response);
                    if self.authenticated { Ok(Vec::new()) } else { Err(0x6982) }
                } else {
                    let bytes = if self.algorithm == Algorithm::TripleDes { 8 } else { 16 };
                    self.challenge = Some(vec![0x5A; bytes]);
                    Ok(tlv::element(0x7C, &tlv::element(0x81, &vec![0x5A; bytes])))
                }
            }
            (0x87, _, 0x9B) => Err(0x6A86),
            _ => Err(0x6D00),
        }
    }

    fn part(&mut self) -> Vec<u8> {
        let count = self.pending.len().min(self.part_bytes);
        let mut part: Vec<u8> = self.pending.drain(..count).collect();
        match u8::try_from(self.pending.len()) {
            Ok(0) => part.extend([0x90, 0]),
            Ok(more) => part.extend([0x61, more]),
            Err(_) => part.extend([0x61, 0]),
        }
        part
    }
}

impl Exchange for SoftCard {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError> {
        assert!(command.len() <= 261, "a command of short form");
        let [class, ins, p1, p2, rest @ ..] = command else { return Ok(vec![0x67, 0]) };
        if *ins == 0xC0 {
            return Ok(self.part());
        }
        if *ins == 0xDB && self.writes == self.writes_left {
            return Err(TokenError::Gone);
        }
        let data = match rest {
            [] | [_] => &[],
            [length, rest @ ..] => &rest[..usize::from(*length)],
        };
        self.chained.extend(data);
        if *class == 0x10 {
            return Ok(vec![0x90, 0]);
        }
        let data = std::mem::take(&mut self.chained);
        match self.run(*ins, *p1, *p2, &data) {
            Ok(answer) => {
                self.pending = answer.into();
                Ok(self.part())
            }
            Err(status) => Ok(status.to_be_bytes().to_vec()),
        }
    }
}

/// Cards at places, behind one transport.
#[derive(Clone, Default)]
pub(crate) struct SoftPort {
    pub(crate) cards: Arc<Mutex<Vec<(Place, SoftCard)>>>,
    /// What each conversation is answered with before it begins.
    pub(crate) refusal: Option<TokenError>,
    /// What the list of places is answered with.
    pub(crate) blind: bool,
    /// Bus and address of readers.
    pub(crate) addresses: BTreeMap<String, (u8, u8)>,
}

impl std::fmt::Debug for SoftPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftPort")
    }
}

impl SoftPort {
    pub(crate) fn with(via: Via, cards: Vec<(&str, SoftCard)>) -> Self {
        let place = |id: &str| Place { via, id: id.to_owned(), name: id.to_owned() };
        let cards = cards.into_iter().map(|(id, card)| (place(id), card)).collect();
        Self { cards: Arc::new(Mutex::new(cards)), ..Self::default() }
    }
}

impl Readers for SoftPort {
    fn all(&self) -> Result<Vec<Place>, TokenError> {
        self.places()
    }

    fn usb_address(&self, place: &Place) -> Option<(u8, u8)> {
        self.addresses.get(&place.id).copied()
    }
}

impl Transport for SoftPort {
    fn places(&self) -> Result<Vec<Place>, TokenError> {
        if self.blind {
            return Err(TokenError::System("no bus".to_owned()));
        }
        Ok(self.cards.lock().unwrap().iter().map(|(place, _)| place.clone()).collect())
    }

    fn transact(
        &self,
        place: &Place,
        talk: &mut dyn FnMut(&mut dyn Exchange) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let mut cards = self.cards.lock().unwrap();
        let card = cards.iter_mut().find(|(it, _)| it == place).ok_or(TokenError::Gone)?;
        talk(&mut card.1)
    }
}
