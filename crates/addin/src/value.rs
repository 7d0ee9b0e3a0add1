//! Values that cross the border, read from and written to [`TVariant`].
//!
//! Reading never trusts the host: unknown types, null pointers and lone surrogates give a value
//! or an error, never undefined behaviour beyond what the pointer itself promises. Whatever is
//! handed to the host is allocated by the host's own memory manager, because the host frees it.

use std::ffi::{c_int, c_ulong, c_void};
use std::fmt;
use std::sync::Arc;

use licence_core::datafile::DATAFILE_BYTES_MAX;
use licence_core::time::Utc;
use time::{Date, Month, OffsetDateTime, Time};
use zeroize::Zeroizing;

use crate::abi::{ByteText, MemoryManagerVtable, TVariant, Wchar, WideText, vt};

/// Longest text taken from the host, in UTF-16 units. A series descriptor is below 2 KiB and a
/// platform error with its stack below 64 KiB; a greater length is a corrupt variant.
pub(crate) const TEXT_UNITS_MAX: usize = 1024 * 1024;

/// Longest member or class name looked up, in UTF-16 units: names end at a terminator that a
/// broken host may have forgotten, and the longest of ours has 65.
const NAME_UNITS_MAX: usize = 256;

/// Bytes that several may hold; cleared from memory with the last of them. Never shown.
#[derive(Clone, PartialEq)]
pub(crate) struct Bytes(Arc<Zeroizing<Vec<u8>>>);

impl Bytes {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(bytes))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// A value of 1C.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `Неопределено`, or a parameter left out.
    Empty,
    /// `Булево`.
    Bool(bool),
    /// `Число`.
    Number(f64),
    /// `Строка`.
    Text(String),
    /// `ДвоичныеДанные`, at most [`DATAFILE_BYTES_MAX`].
    Blob(Bytes),
    /// `Дата`, which has no time zone, read as UTC.
    Date(Utc),
    /// A type that no member takes: arrays, dates as numbers, texts and blobs beyond their limits.
    Other(u16),
}

/// Reads a variant.
///
/// # Safety
/// `variant` is null or points to a variant whose payload fits its type.
pub(crate) unsafe fn read(variant: *const TVariant) -> Value {
    // SAFETY: the caller promises a readable variant or null.
    let Some(variant) = (unsafe { variant.as_ref() }) else { return Value::Empty };
    // SAFETY: every bit pattern is a valid integer, and the union is at least this wide.
    let bits = unsafe { variant.payload.unsigned_long_long };
    let low = bits.to_le_bytes();
    // SAFETY: as above, for the 32-bit field, which the host fills for all small integers.
    let long = unsafe { variant.payload.long_value };
    match variant.vt {
        vt::EMPTY | vt::NULL => Value::Empty,
        vt::BOOL => Value::Bool(low_byte(low) != 0),
        // Cut to the width of the type: some hosts leave the upper half of the field undefined.
        vt::I1 => Value::Number(f64::from(long as i8)),
        vt::UI1 => Value::Number(f64::from(long as u8)),
        vt::I2 => Value::Number(f64::from(long as i16)),
        vt::UI2 => Value::Number(f64::from(long as u16)),
        vt::I4 | vt::INT => Value::Number(f64::from(long)),
        vt::UI4 | vt::UINT => Value::Number(f64::from(long as u32)),
        vt::I8 => Value::Number(bits as i64 as f64),
        vt::UI8 => Value::Number(bits as f64),
        vt::R4 | vt::R8 => Value::Number(f64::from_bits(bits)),
        vt::PWSTR => {
            // SAFETY: the type says that this field is the valid one.
            let text = unsafe { variant.payload.wide };
            // SAFETY: the caller promises that pointer and length belong together.
            unsafe { read_wide(text) }
        }
        vt::PSTR => {
            // SAFETY: the type says that this field is the valid one.
            let text = unsafe { variant.payload.narrow };
            let len = text.len as usize;
            if text.bytes.is_null() || len == 0 {
                return Value::Text(String::new());
            }
            if len > TEXT_UNITS_MAX {
                return Value::Other(vt::PSTR);
            }
            // SAFETY: not null, and the caller promises `len` readable bytes.
            let bytes = unsafe { std::slice::from_raw_parts(text.bytes, len) };
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
        vt::BLOB => {
            // SAFETY: the type says that this field is the valid one.
            let blob = unsafe { variant.payload.narrow };
            // SAFETY: the caller promises that pointer and length belong together.
            unsafe { read_blob(blob) }
        }
        vt::TM => {
            // SAFETY: the type says that this field is the valid one, and every bit pattern is a
            // valid integer.
            let fields = unsafe { variant.payload.tm.fields };
            date(fields).map_or(Value::Other(vt::TM), Value::Date)
        }
        other => Value::Other(other),
    }
}

/// The moment of a `struct tm`: seconds, minutes, hours, day, month from 0, years from 1900; nothing
/// when the calendar of 1C, which begins with the year 1, does not have it.
fn date([second, minute, hour, day, month, year, ..]: [c_int; 9]) -> Option<Utc> {
    let part = |number: c_int| u8::try_from(number).ok();
    let month = Month::try_from(part(month.checked_add(1)?)?).ok()?;
    let year = year.checked_add(1900).filter(|year| (1..=9999).contains(year))?;
    let day = Date::from_calendar_date(year, month, part(day)?).ok()?;
    let time = Time::from_hms(part(hour)?, part(minute)?, part(second)?).ok()?;
    Some(OffsetDateTime::new_utc(day, time).into())
}

/// # Safety
/// Pointer and length belong together.
unsafe fn read_blob(blob: ByteText) -> Value {
    let len = blob.len as usize;
    if blob.bytes.is_null() || len == 0 {
        return Value::Blob(Bytes::new(Zeroizing::new(Vec::new())));
    }
    if len as u64 > DATAFILE_BYTES_MAX {
        return Value::Other(vt::BLOB);
    }
    // SAFETY: not null, and the caller promises `len` readable bytes.
    let bytes = unsafe { std::slice::from_raw_parts(blob.bytes, len) };
    // A client of 32 bits may have no room left, which is no reason to take it down.
    let mut copy = Zeroizing::new(Vec::new());
    if copy.try_reserve_exact(len).is_err() {
        return Value::Other(vt::BLOB);
    }
    copy.extend_from_slice(bytes);
    Value::Blob(Bytes::new(copy))
}

/// The byte at the lowest address, where a C++ `bool` lies on either endianness of the targets.
const fn low_byte(bytes: [u8; 8]) -> u8 {
    bytes[0]
}

/// # Safety
/// Pointer and length belong together.
unsafe fn read_wide(text: WideText) -> Value {
    let len = text.len as usize;
    if text.units.is_null() || len == 0 {
        return Value::Text(String::new());
    }
    if len > TEXT_UNITS_MAX || !text.units.is_aligned() {
        return Value::Other(vt::PWSTR);
    }
    // SAFETY: not null, aligned, and the caller promises `len` readable units.
    let units = unsafe { std::slice::from_raw_parts(text.units, len) };
    Value::Text(String::from_utf16_lossy(units))
}

/// Reads a terminated name; nothing when it is null or longer than any name of ours can be.
///
/// # Safety
/// `name` is null or points to units that end with a zero unit.
pub(crate) unsafe fn read_name(name: *const Wchar) -> Option<String> {
    if name.is_null() || !name.is_aligned() {
        return None;
    }
    let mut units = Vec::new();
    loop {
        // SAFETY: no unit before this one was the terminator, so it lies in the same text.
        let unit = unsafe { *name.wrapping_add(units.len()) };
        if unit == 0 {
            return Some(String::from_utf16_lossy(&units));
        }
        if units.len() == NAME_UNITS_MAX {
            return None;
        }
        units.push(unit);
    }
}

/// The host's memory manager: a pointer to an object that begins with its virtual table.
#[derive(Clone, Copy)]
pub(crate) struct Memory(*mut c_void);

impl Memory {
    /// The manager behind a pointer that the host passed; nothing for null.
    pub(crate) fn new(manager: *mut c_void) -> Option<Self> {
        (!manager.is_null()).then_some(Self(manager))
    }

    /// So many bytes of host memory; nothing when the host has none.
    ///
    /// # Safety
    /// The manager is alive.
    unsafe fn alloc(self, bytes: usize) -> Option<*mut c_void> {
        let bytes = c_ulong::try_from(bytes).ok()?;
        // SAFETY: an object of the manager's class begins with a pointer to its table.
        let table = unsafe { *self.0.cast::<*const MemoryManagerVtable>() };
        // SAFETY: the table outlives the manager, which the caller promises to be alive.
        let alloc = unsafe { (*table).alloc };
        let mut memory: *mut c_void = std::ptr::null_mut();
        // SAFETY: the slot has this signature; `memory` is a valid place for the answer.
        let answered = unsafe { alloc(self.0, &raw mut memory, bytes) };
        (answered && !memory.is_null()).then_some(memory)
    }

    /// Copies bytes into host memory; nothing when the host has no memory. Nobody need free what
    /// holds no byte, so that is a null pointer.
    ///
    /// # Safety
    /// The manager is alive.
    unsafe fn copy_bytes(self, bytes: &[u8]) -> Option<ByteText> {
        let len = u32::try_from(bytes.len()).ok()?;
        if len == 0 {
            return Some(ByteText { bytes: std::ptr::null_mut(), len });
        }
        // SAFETY: promise of the caller.
        let memory = unsafe { self.alloc(bytes.len()) }?.cast::<u8>();
        // SAFETY: the manager gave room for as many bytes, which overlap nothing of ours.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
        Some(ByteText { bytes: memory, len })
    }

    /// Copies a text with a terminator into host memory: pointer and length in units without the
    /// terminator. Nothing when the host has no memory.
    ///
    /// # Safety
    /// The manager is alive.
    pub(crate) unsafe fn copy_text(self, text: &str) -> Option<WideText> {
        let count = text.encode_utf16().count();
        let len = u32::try_from(count).ok()?;
        let bytes = count.checked_add(1)?.checked_mul(2)?;
        // SAFETY: promise of the caller.
        let memory = unsafe { self.alloc(bytes) }?;
        let units = memory.cast::<Wchar>();
        if !units.is_aligned() {
            return None;
        }
        for (index, unit) in text.encode_utf16().chain(std::iter::once(0)).enumerate() {
            // SAFETY: the manager gave room for `count + 1` units, and the iterator yields them.
            unsafe { units.wrapping_add(index).write(unit) };
        }
        Some(WideText { units, len })
    }
}

/// Writes a value into a variant that holds nothing to be freed. False when there is no place for
/// it: no variant, or a text without a memory manager.
///
/// # Safety
/// `variant` is null or points to a writable variant; the manager is alive.
pub(crate) unsafe fn write(variant: *mut TVariant, value: &Value, memory: Option<Memory>) -> bool {
    // SAFETY: the caller promises a writable variant or null.
    let Some(variant) = (unsafe { variant.as_mut() }) else { return false };
    match value {
        // No member answers a date: moments travel in JSON, with their zone.
        Value::Date(_) | Value::Empty | Value::Other(_) => variant.vt = vt::EMPTY,
        Value::Bool(truth) => {
            // The whole word, because some hosts read more than the byte.
            variant.payload.long_value = i32::from(*truth);
            variant.vt = vt::BOOL;
        }
        Value::Number(number) => {
            variant.payload.double = *number;
            variant.vt = vt::R8;
        }
        Value::Text(text) => {
            let Some(memory) = memory else {
                variant.vt = vt::EMPTY;
                return false;
            };
            // SAFETY: the caller promises a living manager.
            let Some(copy) = (unsafe { memory.copy_text(text) }) else {
                variant.vt = vt::EMPTY;
                return false;
            };
            variant.payload.wide = copy;
            variant.vt = vt::PWSTR;
        }
        Value::Blob(bytes) => {
            // SAFETY: the caller promises a living manager.
            let copy = memory.and_then(|memory| unsafe { memory.copy_bytes(bytes.as_slice()) });
            let Some(copy) = copy else {
                variant.vt = vt::EMPTY;
                return false;
            };
            variant.payload.narrow = copy;
            variant.vt = vt::BLOB;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Payload;

    fn variant(vt: u16, payload: Payload) -> TVariant {
        TVariant { payload, elements: 0, vt }
    }

    #[test]
    fn numbers_are_read_from_every_integer_and_floating_type() {
        for (vt, payload, expected) in [
            (vt::I4, Payload { long_value: -7 }, -7.0),
            (vt::INT, Payload { long_value: 12 }, 12.0),
            (vt::UI4, Payload { long_value: -1 }, 4_294_967_295.0),
            (vt::UI1, Payload { long_value: 0x7fff_ff05 }, 5.0),
            (vt::I2, Payload { long_value: 0x7fff_fffe }, -2.0),
            (vt::R8, Payload { double: 1.5 }, 1.5),
            (vt::R4, Payload { double: 2.5 }, 2.5),
            (vt::I8, Payload { long_long: -3 }, -3.0),
        ] {
            let mut value = variant(vt, Payload { long_long: 0 });
            value.payload = payload;
            // SAFETY: a variant of this test.
            assert_eq!(unsafe { read(&raw const value) }, Value::Number(expected), "vt {vt}");
        }
    }

    #[test]
    fn texts_without_terminator_with_lone_surrogates_and_null_pointers_are_read() {
        let mut units = [0x0416u16, 0xd800, 0x0041];
        let text = WideText { units: units.as_mut_ptr(), len: 3 };
        let value = variant(vt::PWSTR, Payload { wide: text });
        // SAFETY: the variant points to three units of this test.
        assert_eq!(unsafe { read(&raw const value) }, Value::Text("Ж\u{fffd}A".to_owned()));
        let null = WideText { units: std::ptr::null_mut(), len: 9 };
        let value = variant(vt::PWSTR, Payload { wide: null });
        // SAFETY: a null pointer is allowed.
        assert_eq!(unsafe { read(&raw const value) }, Value::Text(String::new()));
        // SAFETY: a null variant is allowed.
        assert_eq!(unsafe { read(std::ptr::null()) }, Value::Empty);
    }

    #[test]
    fn types_that_no_member_takes_are_told_apart_from_nothing() {
        for code in [vt::DATE, vt::BLOB | 0x4000, 0x2000 | vt::I4, 0xffff] {
            let value = variant(code, Payload { long_long: 0 });
            // SAFETY: a variant of this test.
            assert_eq!(unsafe { read(&raw const value) }, Value::Other(code));
        }
    }

    #[test]
    fn dates_are_read_as_utc_and_those_of_no_calendar_are_of_no_type() {
        for (fields, expected) in [
            ([5, 4, 3, 22, 10, 126, 0, 0, 0], Some("2026-11-22T03:04:05Z")),
            // The empty date of 1C.
            ([0, 0, 0, 1, 0, -1899, 1, 0, 0], Some("0001-01-01T00:00:00Z")),
            ([59, 59, 23, 31, 11, 8099, 0, 364, -1], Some("9999-12-31T23:59:59Z")),
            ([0; 9], None),
            ([60, 0, 0, 1, 0, 126, 0, 0, 0], None),
            ([0, 0, 0, 29, 1, 127, 0, 0, 0], None),
            ([0, 0, 0, 1, 12, 126, 0, 0, 0], None),
            ([0, 0, 0, 1, 0, -1900, 0, 0, 0], None),
            ([0, 0, 0, 1, 0, 8100, 0, 0, 0], None),
            ([c_int::MAX; 9], None),
            ([c_int::MIN; 9], None),
        ] {
            let mut value = variant(vt::TM, Payload { long_long: 0 });
            // SAFETY: every bit pattern is valid for the fields, and all of them were zeroed.
            let mut tm: crate::abi::Tm = unsafe { std::mem::zeroed() };
            tm.fields = fields;
            value.payload.tm = tm;
            let expected = expected.map(|text| text.parse().unwrap());
            // SAFETY: a variant of this test.
            let read = unsafe { read(&raw const value) };
            assert_eq!(read, expected.map_or(Value::Other(vt::TM), Value::Date), "{fields:?}");
        }
    }

    #[test]
    fn blobs_are_copied_and_those_beyond_the_limit_never_looked_at() {
        let mut bytes = [1u8, 0, 255];
        let limit = u32::try_from(DATAFILE_BYTES_MAX).unwrap();
        for (pointer, len, expected) in [
            (bytes.as_mut_ptr(), 3, Some(&[1u8, 0, 255][..])),
            (bytes.as_mut_ptr(), 0, Some(&[][..])),
            (std::ptr::null_mut(), 9, Some(&[][..])),
            (bytes.as_mut_ptr(), limit + 1, None),
        ] {
            let narrow = ByteText { bytes: pointer, len };
            let mut value = variant(vt::BLOB, Payload { long_long: 0 });
            value.payload.narrow = narrow;
            // SAFETY: a pointer with its length, or one that must not be followed.
            let read = unsafe { read(&raw const value) };
            match expected {
                Some(expected) => {
                    assert_eq!(read, Value::Blob(Bytes::new(Zeroizing::new(expected.to_vec()))));
                }
                None => assert_eq!(read, Value::Other(vt::BLOB)),
            }
        }
        assert_eq!(format!("{:?}", Bytes::new(Zeroizing::new(b"secret".to_vec()))), "Bytes(6)");
    }

    #[test]
    fn a_text_without_a_memory_manager_is_refused() {
        let mut value = variant(vt::I4, Payload { long_value: 1 });
        // SAFETY: a variant of this test and no manager.
        let written = unsafe { write(&raw mut value, &Value::Text("a".to_owned()), None) };
        assert!(!written);
        assert_eq!(value.vt, vt::EMPTY);
    }
}
