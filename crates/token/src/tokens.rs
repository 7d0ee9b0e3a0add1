//! Both transports as one: which places there are, and by which way a token is spoken to.
//!
//! On Linux a token is reached over USB by this program itself; while the smart card service holds it,
//! through that service. Elsewhere through the service alone. What is said to a token is decided in
//! [`crate::licence`].

use std::fmt;
use std::sync::Arc;

use licence_core::holder::TokenKey;

use crate::apdu::{Exchange, Place, TRANSACTION_TIME_MAX, TokenError, Transport, Via};
use crate::clock::Deadline;
use crate::licence::{self, TokenInfo};
use crate::list::TokenList;
use crate::pcsc::Pcsc;
use crate::piv::Piv;
use crate::piv::management::ManagementKey;
use crate::usb::{Usb, UsbId};

/// Readers of the smart card service.
pub trait Readers: Transport {
    /// All readers by name, those of others too: to find a device again that the service holds.
    /// Nothing is connected to.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]. A system without the service has none.
    fn all(&self) -> Result<Vec<Place>, TokenError>;

    /// Bus and device address of the USB device behind a reader, where the service tells.
    fn usb_address(&self, place: &Place) -> Option<(u8, u8)>;
}

/// The tokens of this computer.
#[derive(Clone)]
pub struct Tokens {
    list: TokenList,
    usb: Option<Arc<dyn Transport>>,
    readers: Arc<dyn Readers>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Tokens {
    /// The tokens on `list`. Nothing is opened or looked for yet.
    pub fn new(list: TokenList) -> Self {
        let usb = cfg!(any(target_os = "linux", target_os = "android"))
            .then(|| Arc::new(Usb::new(list.clone())) as Arc<dyn Transport>);
        let readers = Arc::new(Pcsc::new(list.clone()));
        Self { list, usb, readers }
    }

    /// The tokens on `list` behind these transports: for tests, and for other systems.
    pub fn over(
        list: TokenList,
        usb: Option<Arc<dyn Transport>>,
        readers: Arc<dyn Readers>,
    ) -> Self {
        Self { list, usb, readers }
    }

    /// Reads the token at a place.
    ///
    /// # Errors
    ///
    /// See [`licence::read`].
    pub fn read(&self, place: &Place) -> Result<TokenInfo, TokenError> {
        self.with_piv(place, |piv| licence::read(piv, place))
    }

    /// The signature (r and s) over SHA-256 of `message` by the token with this key, checked.
    ///
    /// # Errors
    ///
    /// See [`licence::prove`].
    pub fn prove(
        &self,
        place: &Place,
        key: &TokenKey,
        message: &[u8],
    ) -> Result<[u8; 64], TokenError> {
        self.with_piv(place, |piv| licence::prove(piv, key, message))
    }

    /// Signatures over several messages within one transaction, see [`Self::prove`].
    ///
    /// # Errors
    ///
    /// The first that occurs.
    pub fn prove_each(
        &self,
        place: &Place,
        key: &TokenKey,
        messages: &[&[u8]],
    ) -> Result<Vec<[u8; 64]>, TokenError> {
        self.with_piv(place, |piv| {
            messages.iter().map(|message| licence::prove(piv, key, message)).collect()
        })
    }

    /// The certificates (DER) by which the maker attests the token's key, that of the key first; none
    /// where the token cannot attest.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn attestation(&self, place: &Place) -> Result<Vec<Vec<u8>>, TokenError> {
        self.with_piv(place, |piv| piv.attestation())
    }

    /// Keeps a licence document on the token, see [`licence::store`].
    ///
    /// # Errors
    ///
    /// [`TokenError::TooLarge`] when it does not fit.
    pub fn store_licence(
        &self,
        place: &Place,
        document: &str,
        management: &ManagementKey,
    ) -> Result<(), TokenError> {
        self.with_piv(place, |piv| licence::store(piv, document, management))
    }

    /// Makes a blank: the token makes its key, see [`licence::prepare`].
    ///
    /// # Errors
    ///
    /// [`TokenError::KeyPresent`] when it has one.
    pub fn prepare(
        &self,
        place: &Place,
        management: &ManagementKey,
    ) -> Result<TokenKey, TokenError> {
        self.with_piv(place, |piv| licence::prepare(piv, management))
    }

    fn with_piv<T>(
        &self,
        place: &Place,
        mut talk: impl FnMut(&mut Piv<'_>) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let mut result = None;
        self.transact(place, &mut |card| {
            result = Some(talk(&mut Piv::select(card)?)?);
            Ok(())
        })?;
        result.ok_or(TokenError::Malformed("nothing was said"))
    }

    /// The reader of the service that is the USB device at `place`.
    fn twin(&self, place: &Place) -> Option<Place> {
        let usb = self.usb.as_ref()?.places().ok()?;
        let readers = self.readers.all().ok()?;
        pairs(&self.list, &usb, &readers, &|reader| self.readers.usb_address(reader))
            .into_iter()
            .find(|(device, _)| *device == place)
            .map(|(_, reader)| reader.clone())
    }
}

impl Transport for Tokens {
    /// Over USB where this program reaches tokens itself, and readers of the service that are none of
    /// these devices. The service is asked only when it can know more than the bus: it would be
    /// started by the question.
    fn places(&self) -> Result<Vec<Place>, TokenError> {
        let Some(usb) = &self.usb else { return self.readers.places() };
        let devices = match usb.places() {
            Ok(devices) if !self.list.names_readers() => return Ok(devices),
            Ok(devices) => devices,
            Err(error) => {
                log::debug!("tokens are looked for in the smart card service alone: {error}");
                return self.readers.places();
            }
        };
        let readers = match self.readers.places() {
            Ok(readers) => readers,
            Err(error) => {
                log::debug!("tokens are looked for on USB alone: {error}");
                return Ok(devices);
            }
        };
        let pairs = pairs(&self.list, &devices, &readers, &|it| self.readers.usb_address(it));
        let known: Vec<&Place> = pairs.iter().map(|(_, reader)| *reader).collect();
        let more: Vec<Place> =
            readers.iter().filter(|reader| !known.contains(reader)).cloned().collect();
        Ok([devices, more].concat())
    }

    fn transact(
        &self,
        place: &Place,
        talk: &mut dyn FnMut(&mut dyn Exchange) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let deadline = Deadline::after(TRANSACTION_TIME_MAX);
        let mut talk = |card: &mut dyn Exchange| talk(&mut Timed { card, deadline });
        match (place.via, &self.usb) {
            (Via::Usb, Some(usb)) => {
                let mut begun = false;
                let result = usb.transact(place, &mut |card| {
                    begun = true;
                    talk(card)
                });
                match result {
                    Err(TokenError::Busy) if !begun => {
                        let reader = self.twin(place).ok_or(TokenError::Busy)?;
                        self.readers.transact(&reader, &mut talk)
                    }
                    other => other,
                }
            }
            (Via::Usb, None) => Err(TokenError::Gone),
            (Via::Pcsc, _) => self.readers.transact(place, &mut talk),
        }
    }
}

/// An exchange that ends with its transaction's time.
struct Timed<'a> {
    card: &'a mut dyn Exchange,
    deadline: Deadline,
}

impl Exchange for Timed<'_> {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.deadline.left().ok_or(TokenError::Slow)?;
        self.card.exchange(command)
    }
}

/// Which reader is which device: by the serial number in the reader's name, where the device has one;
/// by the kind of token, where there is one of it; else by what the service says of the bus.
fn pairs<'a>(
    list: &TokenList,
    devices: &'a [Place],
    readers: &'a [Place],
    address: &dyn Fn(&Place) -> Option<(u8, u8)>,
) -> Vec<(&'a Place, &'a Place)> {
    let ids: Vec<(&Place, UsbId)> =
        devices.iter().filter_map(|it| Some((it, it.id.parse().ok()?))).collect();
    let mut pairs = Vec::new();
    for reader in readers {
        let by_serial: Vec<_> = ids
            .iter()
            .filter(|(_, id)| {
                let serial = id.serial.as_deref().filter(|serial| !serial.is_empty());
                serial.is_some_and(|serial| reader.name.contains(&format!("({serial})")))
            })
            .collect();
        let of_kind = |id: &UsbId, name: &str| list.is_reader_of(name, id.vendor, id.product);
        let by_kind: Vec<_> = ids.iter().filter(|(_, id)| of_kind(id, &reader.name)).collect();
        let device = match (by_serial.as_slice(), by_kind.as_slice()) {
            ([one], _) => Some(one.0),
            ([], [one]) if readers.iter().filter(|it| of_kind(&one.1, &it.name)).count() == 1 => {
                Some(one.0)
            }
            // Asking means connecting, which only readers on the list are.
            _ if list.has_reader(&reader.name) => address(reader).and_then(|(bus, address)| {
                let same = |id: &UsbId| (id.bus, id.address) == (Some(bus), address);
                ids.iter().find(|(_, id)| same(id)).map(|(place, _)| *place)
            }),
            _ => None,
        };
        if let Some(device) = device {
            pairs.push((device, reader));
        }
    }
    pairs
}

#[cfg(test)]
mod tests;
