//! The series that the library itself pins: descriptors behind the end of its own file.
//!
//! The platform unpacks one library of a template, alone, so a vendor's pin must be inside it
//! ([`licence_core::template_pin`]; `licencekit template pin` writes it). The file is read once, at
//! the first object of the process. A component from a template that hands its work to an installed
//! one gives its pins along ([`adopt`]). No pin, or a damaged one, costs nothing but the pin: the
//! series then has to be pinned by `ОписаниеСерии` or the file beside the settings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use licence_core::key::KeySeries;
use licence_core::series::SeriesDescriptor;
use licence_core::template_pin::{Descriptors, OVERLAY_BYTES_MAX, read_tail};
use log::Level;

use crate::guard::try_lock;
use crate::{logfile, module};

/// Most series whose pins are kept: one process serves some configurations of some series each.
const SERIES_MAX: usize = 1024;

struct Pins {
    /// Whether the own file was read.
    read: bool,
    /// Nothing where two libraries pin one series differently.
    by_series: BTreeMap<KeySeries, Option<SeriesDescriptor>>,
}

static PINS: Mutex<Pins> = Mutex::new(Pins { read: false, by_series: BTreeMap::new() });

fn lock() -> MutexGuard<'static, Pins> {
    let mut pins = PINS.lock().unwrap_or_else(PoisonError::into_inner);
    if !pins.read {
        pins.read = true;
        if let Some(path) = module::path() {
            pins.read_own(&path);
        }
    }
    pins
}

impl Pins {
    fn read_own(&mut self, path: &Path) {
        match File::open(path).and_then(|file| tail(&file)).map(|tail| read_tail(&tail)) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(pin))) => {
                for series in pin.descriptors.keys() {
                    let note = format!("the library pins series {series}, tag={}", pin.tag);
                    logfile::note(Level::Info, &note);
                }
                self.add(pin.descriptors);
            }
            Ok(Err(why)) => {
                let note = format!("the pin in {} is ignored: {why}", path.display());
                logfile::note(Level::Warn, &note);
            }
            Err(why) => {
                let note = format!("{} was not read for a pin: {why}", path.display());
                logfile::note(Level::Warn, &note);
            }
        }
    }

    fn add(&mut self, descriptors: Descriptors) {
        for (series, descriptor) in descriptors {
            let full = self.by_series.len() >= SERIES_MAX;
            match self.by_series.get_mut(&series) {
                Some(Some(known)) if *known == descriptor => {}
                Some(known) => {
                    *known = None;
                    let note = format!(
                        "two templates of this process pin series {series} differently: neither counts"
                    );
                    logfile::note(Level::Error, &note);
                }
                None if full => {
                    logfile::note(Level::Warn, &format!("too many pins: {series} is left out"));
                }
                None => {
                    self.by_series.insert(series, Some(descriptor));
                }
            }
        }
    }
}

/// The last bytes of a file, [`OVERLAY_BYTES_MAX`] at most.
pub(crate) fn tail(mut file: &File) -> io::Result<Vec<u8>> {
    let most = OVERLAY_BYTES_MAX as u64;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the own file unless that was done: the sooner, the less the file can have been replaced.
pub(crate) fn load() {
    drop(lock());
}

/// The descriptor (JSON) that this library pins for a series; nothing when it pins none.
pub(crate) fn descriptor(series: KeySeries) -> Option<String> {
    let pins = lock();
    serde_json::to_string(pins.by_series.get(&series)?.as_ref()?).ok()
}

/// Everything this library pins.
pub(crate) fn all() -> Vec<SeriesDescriptor> {
    lock().by_series.values().flatten().cloned().collect()
}

/// Takes over the pins of a component that hands its work to this one.
pub(crate) fn adopt(descriptors: Descriptors) {
    lock().add(descriptors);
}

/// Gives back all memory: the library is about to go away.
pub(crate) fn forget() {
    if let Some(mut pins) = try_lock(&PINS) {
        pins.by_series = BTreeMap::new();
    }
}

#[cfg(test)]
mod tests {
    use licence_core::seal::{Jwk, SigningKey};
    use licence_core::template_pin::overlay;

    use super::*;

    const SERIES: KeySeries = KeySeries::from_u16(0x672B);

    fn pins(seed: u8) -> Descriptors {
        let key = SigningKey::from_seed(&[seed; 32]).public();
        let object = Jwk { crv: "X25519".into(), ..key.jwk() };
        let descriptor = SeriesDescriptor::new(SERIES, "Тест".into(), None, key, object);
        BTreeMap::from([(SERIES, descriptor)])
    }

    fn empty() -> Pins {
        Pins { read: true, by_series: BTreeMap::new() }
    }

    #[test]
    fn pin_of_a_file_is_read_and_a_damaged_one_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.so");
        // Longer than what is read of it.
        let mut bytes = vec![7; 3 * OVERLAY_BYTES_MAX];
        bytes.extend(overlay(&pins(1)).unwrap().0);
        std::fs::write(&path, &bytes).unwrap();
        let mut read = empty();
        read.read_own(&path);
        assert_eq!(read.by_series[&SERIES].as_ref(), pins(1).get(&SERIES));
        bytes[3 * OVERLAY_BYTES_MAX] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        for path in [&path, &folder.path().join("none")] {
            let mut read = empty();
            read.read_own(path);
            assert!(read.by_series.is_empty());
        }
    }

    #[test]
    fn equal_pins_agree_and_different_ones_cancel_each_other_for_good() {
        let mut both = empty();
        both.add(pins(1));
        both.add(pins(1));
        assert!(both.by_series[&SERIES].is_some());
        both.add(pins(2));
        both.add(pins(1));
        assert_eq!(both.by_series[&SERIES], None);
    }
}
