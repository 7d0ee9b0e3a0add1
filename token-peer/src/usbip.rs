//! The whole token as a USB device over USB/IP, at 127.0.0.1:3240 (the crate fixes the address).
//!
//! Its memory lives as long as the process: detaching and attaching again is unplugging and plugging
//! in the same token.

use littlefs2::const_ram_storage;
use littlefs2::fs::{Allocation, Filesystem};
use littlefs2_core::{DynFilesystem, PathBuf};
use piv_authenticator::{Authenticator, Options};
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::service::Service;
use trussed::types::CoreContext;
use trussed_usbip::{Platform, Store, Syscall};

use crate::Failure;
use crate::card::CLIENT;
use crate::dispatch::{BACKENDS, Contexts, Custom, Dispatch};

const_ram_storage!(Memory, 512 * 128);

/// The application of the device.
struct Applications {
    piv: Authenticator<trussed_usbip::Client<Dispatch>>,
}

impl trussed_usbip::Apps<'static, Dispatch> for Applications {
    type Data = ();

    fn new(
        _service: &mut Service<Platform, Dispatch>,
        endpoints: &mut Vec<ServiceEndpoint<'static, Custom, Contexts>>,
        syscall: Syscall,
        (): (),
    ) -> Self {
        let channel: &'static TrussedChannel = Box::leak(Box::new(TrussedChannel::new()));
        let (requester, responder) = channel.split().expect("the channel has just been made");
        let client = PathBuf::try_from(CLIENT).expect("the name is a short constant");
        endpoints.push(ServiceEndpoint::new(responder, CoreContext::new(client), BACKENDS));
        let client = trussed_usbip::Client::new(requester, syscall, None);
        Self { piv: Authenticator::new(client, Options::new()) }
    }

    fn with_ccid_apps<T>(
        &mut self,
        run: impl FnOnce(&mut [&mut dyn apdu_dispatch::App]) -> T,
    ) -> T {
        run(&mut [&mut self.piv])
    }
}

/// Serves the device for ever.
pub(crate) fn serve() -> Result<(), Failure> {
    let store = Store { ifs: memory()?, efs: memory()?, vfs: memory()? };
    let options = trussed_usbip::usb::Options {
        manufacturer: Some("Nitrokey"),
        product: Some("Nitrokey 3"),
        serial_number: None,
        vid: 0x20A0,
        pid: 0x42B2,
    };
    crate::ready()?;
    trussed_usbip::Builder::with_default_usb_classes(options)
        .dispatch(Dispatch::new())
        .build::<Applications>()
        .exec(Platform::new(store), ());
    Ok(())
}

/// A fresh file system in memory. The device lives as long as the process, and so may this.
fn memory() -> Result<&'static dyn DynFilesystem, Failure> {
    let storage: &'static mut Memory = Box::leak(Box::new(Memory::new()));
    Filesystem::format(storage).map_err(|why| format!("formatting the memory: {why:?}"))?;
    let allocation = Box::leak(Box::new(Allocation::new()));
    let filesystem = Filesystem::mount(allocation, storage)
        .map_err(|why| format!("mounting the memory: {why:?}"))?;
    Ok(Box::leak(Box::new(filesystem)))
}
