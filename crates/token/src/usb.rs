//! Tokens over USB, by CCID: which devices there are, and the bulk pipe to one of them.
//!
//! A device is claimed for one transaction and let go again, so that others may use it in between.
//! Devices that are not on the list are not opened.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nusb::descriptors::TransferType;
use nusb::transfer::{Buffer, Bulk, Direction, In, Out, TransferError};
use nusb::{Device, DeviceInfo, Endpoint, ErrorKind, Interface, MaybeFuture};

use crate::apdu::{Exchange, Place, TokenError, Transport, Via};
use crate::ccid::reader::{Pipe, Reader};
use crate::ccid::{DESCRIPTOR_TYPE, Descriptor, INTERFACE_CLASS, message_bytes};
use crate::list::TokenList;

/// Tokens that are looked at: nobody plugs more into one computer.
const PLACES_MAX: usize = 64;

/// Longest text of a device that is shown; USB itself ends at 126.
const TEXT_CHARS_MAX: usize = 126;

/// Empty transfers in front of a message that are passed over.
const EMPTY_MAX: usize = 4;

/// What names a USB device within [`Place::id`]: `BUS-ADDRESS/VVVV:PPPP/SERIAL`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsbId {
    /// Number of the bus, where the system counts them.
    pub bus: Option<u8>,
    /// Address on the bus.
    pub address: u8,
    /// Vendor.
    pub vendor: u16,
    /// Product.
    pub product: u16,
    /// Serial number of the device, as it shows it.
    pub serial: Option<String>,
}

/// Not the id of a USB device.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the id of a USB device")]
pub struct UsbIdError;

impl fmt::Display for UsbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bus {
            Some(bus) => write!(f, "{bus:03}")?,
            None => f.write_str("?")?,
        }
        write!(f, "-{:03}/{:04X}:{:04X}/", self.address, self.vendor, self.product)?;
        f.write_str(self.serial.as_deref().unwrap_or_default())
    }
}

impl FromStr for UsbId {
    type Err = UsbIdError;

    fn from_str(text: &str) -> Result<Self, UsbIdError> {
        let parse = || {
            let mut parts = text.splitn(3, '/');
            let (bus, address) = parts.next()?.split_once('-')?;
            let (vendor, product) = parts.next()?.split_once(':')?;
            let serial = parts.next()?;
            Some(Self {
                bus: if bus == "?" { None } else { Some(bus.parse().ok()?) },
                address: address.parse().ok()?,
                vendor: u16::from_str_radix(vendor, 16).ok()?,
                product: u16::from_str_radix(product, 16).ok()?,
                serial: (!serial.is_empty()).then(|| serial.to_owned()),
            })
        };
        parse().ok_or(UsbIdError)
    }
}

/// CCID over USB.
#[derive(Debug)]
pub struct Usb {
    list: TokenList,
}

impl Usb {
    /// The devices on `list`.
    pub const fn new(list: TokenList) -> Self {
        Self { list }
    }

    fn devices(&self) -> Result<Vec<(Place, DeviceInfo)>, TokenError> {
        let devices = nusb::list_devices().wait().map_err(|error| failed(&error))?;
        let mut found: Vec<_> = devices
            .filter_map(|device| Some((self.place(&device)?, device)))
            .take(PLACES_MAX)
            .collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// The place of a device, if it is on the list and has a reader inside.
    fn place(&self, device: &DeviceInfo) -> Option<Place> {
        let (vendor, product) = (device.vendor_id(), device.product_id());
        let kind = self.list.device(vendor, product)?;
        // The class of the device says nothing: composite tokens name another one there.
        if !device.interfaces().any(|interface| interface.class() == INTERFACE_CLASS) {
            return None;
        }
        let id = UsbId {
            bus: bus(device),
            address: device.device_address(),
            vendor,
            product,
            serial: device.serial_number().map(printable),
        };
        let name = [device.manufacturer_string(), device.product_string()]
            .into_iter()
            .flatten()
            .map(printable)
            .collect::<Vec<_>>()
            .join(" ");
        let name = if name.is_empty() { kind.to_owned() } else { name };
        Some(Place { via: Via::Usb, id: id.to_string(), name })
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bus(device: &DeviceInfo) -> Option<u8> {
    Some(device.busnum())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bus(_device: &DeviceInfo) -> Option<u8> {
    None
}

/// A text of the device without what no name has.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(TEXT_CHARS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

impl Transport for Usb {
    fn places(&self) -> Result<Vec<Place>, TokenError> {
        Ok(self.devices()?.into_iter().map(|(place, _)| place).collect())
    }

    fn transact(
        &self,
        place: &Place,
        talk: &mut dyn FnMut(&mut dyn Exchange) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let devices = self.devices()?;
        let found = devices.iter().find(|(it, _)| it.id == place.id).ok_or(TokenError::Gone)?;
        let device = found.1.open().wait().map_err(|error| failed(&error))?;
        let plan = Plan::of(&device)?;
        // Dropped at the end of this function, which lets the interface go.
        let interface =
            device.claim_interface(plan.interface).wait().map_err(|error| failed(&error))?;
        let mut bulk = Bulks::open(&interface, &plan)?;
        let mut reader = Reader::open(&mut bulk, plan.descriptor)?;
        let result = talk(&mut reader);
        if result != Err(TokenError::Gone) {
            reader.close();
        }
        result
    }
}

/// Where in a device the reader is.
struct Plan {
    interface: u8,
    descriptor: Descriptor,
    bulk_in: u8,
    bulk_out: u8,
}

impl Plan {
    fn of(device: &Device) -> Result<Self, TokenError> {
        let configuration =
            device.active_configuration().map_err(|error| TokenError::System(error.to_string()))?;
        let interface = configuration
            .interfaces()
            .map(|interface| interface.first_alt_setting())
            .find(|setting| setting.class() == INTERFACE_CLASS)
            .ok_or(TokenError::Unsupported("it has no smart card reader inside"))?;
        let class = interface
            .descriptors()
            .find(|it| it.descriptor_type() == DESCRIPTOR_TYPE)
            .ok_or(TokenError::Malformed("no CCID class descriptor"))?;
        let endpoint = |direction: Direction| {
            interface
                .endpoints()
                .find(|it| it.transfer_type() == TransferType::Bulk && it.direction() == direction)
                .map(|it| it.address())
                .ok_or(TokenError::Malformed("no bulk endpoints"))
        };
        Ok(Self {
            interface: interface.interface_number(),
            descriptor: Descriptor::parse(class.as_bytes())?,
            bulk_in: endpoint(Direction::In)?,
            bulk_out: endpoint(Direction::Out)?,
        })
    }
}

/// The two bulk endpoints of a reader.
struct Bulks {
    receiving: Endpoint<Bulk, In>,
    sending: Endpoint<Bulk, Out>,
}

impl Bulks {
    fn open(interface: &Interface, plan: &Plan) -> Result<Self, TokenError> {
        let bulks = Self {
            receiving: interface.endpoint(plan.bulk_in).map_err(|error| failed(&error))?,
            sending: interface.endpoint(plan.bulk_out).map_err(|error| failed(&error))?,
        };
        let is_usual = |bytes: usize| (8..=1024).contains(&bytes);
        if is_usual(bulks.receiving.max_packet_size()) && is_usual(bulks.sending.max_packet_size())
        {
            Ok(bulks)
        } else {
            Err(TokenError::Malformed("its packets have an impossible size"))
        }
    }
}

impl Pipe for Bulks {
    fn send(&mut self, message: &[u8], most: Duration) -> Result<(), TokenError> {
        let sent = self.sending.transfer_blocking(message.to_vec().into(), most);
        sent.status.map_err(broken)?;
        if sent.actual_len != message.len() {
            return Err(TokenError::Malformed("it takes a part of a message only"));
        }
        // A message that fills its last packet ends with an empty one, or the reader waits for more.
        if message.len().is_multiple_of(self.sending.max_packet_size()) {
            self.sending.transfer_blocking(Vec::<u8>::new().into(), most).status.map_err(broken)?;
        }
        Ok(())
    }

    fn receive(&mut self, most: Duration) -> Result<Vec<u8>, TokenError> {
        let packet = self.receiving.max_packet_size();
        gather(packet, |bytes| {
            let read = self.receiving.transfer_blocking(Buffer::new(bytes), most);
            read.status.map_err(broken)?;
            Ok(read.buffer.get(..read.actual_len).unwrap_or_default().to_vec())
        })
    }
}

/// One message out of transfers: the first packet says how long it is, so that no reader need end a
/// message with an empty packet; one that does is met at the beginning of the next.
fn gather(
    packet: usize,
    mut transfer: impl FnMut(usize) -> Result<Vec<u8>, TokenError>,
) -> Result<Vec<u8>, TokenError> {
    let mut message = Vec::new();
    for _ in 0..EMPTY_MAX {
        message = transfer(packet)?;
        if !message.is_empty() {
            break;
        }
    }
    let total = message_bytes(&message)?;
    if total > message.len() && message.len() == packet {
        let rest = (total - message.len()).next_multiple_of(packet);
        message.extend(transfer(rest)?);
    }
    if message.len() == total {
        Ok(message)
    } else {
        Err(TokenError::Malformed("the message's length is not what it says"))
    }
}

fn failed(error: &nusb::Error) -> TokenError {
    match error.kind() {
        ErrorKind::Busy => TokenError::Busy,
        ErrorKind::Disconnected | ErrorKind::NotFound => TokenError::Gone,
        ErrorKind::PermissionDenied => TokenError::NotAllowed(error.to_string()),
        ErrorKind::Unsupported => TokenError::Unsupported("USB is closed to programs; use PC/SC"),
        ErrorKind::Other | _ => TokenError::System(error.to_string()),
    }
}

fn broken(error: TransferError) -> TokenError {
    match error {
        TransferError::Cancelled => TokenError::Slow,
        TransferError::Disconnected => TokenError::Gone,
        TransferError::Stall => TokenError::Malformed("it refuses a message"),
        TransferError::Fault | TransferError::InvalidArgument | TransferError::Unknown(_) => {
            TokenError::System(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
