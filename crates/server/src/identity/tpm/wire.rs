//! Five commands of a TPM 2.0 and their answers, in bytes (TCG TPM 2.0 Library, parts 2 and 3).
//!
//! Written by hand: each command is a fixed row of numbers with one or two values in it, and of the
//! answers two fields are read. A crate that knows the whole specification would be longer to call
//! than this is. All numbers are big-endian.

use zeroize::Zeroizing;

use super::TpmError;

/// Most bytes of a command or an answer: those of the PC client profile.
pub(super) const MESSAGE_BYTES_MAX: usize = 4096;

/// Bytes of the head of a message: tag, size, code.
pub(super) const HEAD_BYTES: usize = 10;

/// `TPM_RC_SUCCESS`.
pub(super) const SUCCESS: u32 = 0;
/// `TPM_RC_RETRY`: the TPM was busy; the command is to be given again.
pub(super) const RETRY: u32 = 0x922;

const TAG_NO_SESSIONS: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;
const OWNER: u32 = 0x4000_0001;

/// An authorization by an empty password: `TPM_RS_PW`, no nonce, no attribute, no value.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

const ALG_NULL: u16 = 0x0010;
const ALG_SHA256: u16 = 0x000b;

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt.
const STORAGE_KEY: u32 = 0x0003_0472;
/// fixedTPM, fixedParent, userWithAuth, noDA.
const SEALED_DATA: u32 = 0x0000_0452;

/// A command.
#[derive(Clone, Copy)]
pub(super) enum Code {
    Create,
    CreatePrimary,
    FlushContext,
    Load,
    Unseal,
}

impl Code {
    const fn number(self) -> u32 {
        match self {
            Self::Create => 0x153,
            Self::CreatePrimary => 0x131,
            Self::FlushContext => 0x165,
            Self::Load => 0x157,
            Self::Unseal => 0x15e,
        }
    }

    /// Its name in the specification.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "TPM2_Create",
            Self::CreatePrimary => "TPM2_CreatePrimary",
            Self::FlushContext => "TPM2_FlushContext",
            Self::Load => "TPM2_Load",
            Self::Unseal => "TPM2_Unseal",
        }
    }
}

/// An object in a place of the TPM.
#[derive(Clone, Copy)]
pub(super) struct Handle(u32);

/// A command that grows.
struct Command(Zeroizing<Vec<u8>>);

impl Command {
    fn new(tag: u16, code: Code) -> Self {
        // With its capacity it never moves, and so leaves no copy of a secret behind.
        let mut made = Self(Zeroizing::new(Vec::with_capacity(MESSAGE_BYTES_MAX)));
        made.u16(tag).u32(0).u32(code.number());
        made
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes with their number before them (`TPM2B`).
    fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        // Keys and blobs are some hundred bytes; the reader of the seal holds them to two thousand.
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).bytes(bytes)
    }

    fn finish(mut self) -> Zeroizing<Vec<u8>> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[2..6].copy_from_slice(&len.to_be_bytes());
        self.0
    }
}

/// Makes the storage key: elliptic curve P-256 with AES-128, as the TCG's own template of a storage
/// root key has it. The same TPM makes the same key of it until it is cleared.
pub(super) fn create_storage_key() -> Zeroizing<Vec<u8>> {
    let mut public = Vec::new();
    for (bytes, value) in [
        // Kind ECC, names by SHA-256, attributes, no policy.
        (2, 0x0023),
        (2, u32::from(ALG_SHA256)),
        (4, STORAGE_KEY),
        (2, 0),
        // AES, 128 bits, CFB; no scheme; P-256; no derivation.
        (2, 0x0006),
        (2, 128),
        (2, 0x0043),
        (2, u32::from(ALG_NULL)),
        (2, 0x0003),
        (2, u32::from(ALG_NULL)),
        // The point is the TPM's to choose.
        (2, 0),
        (2, 0),
    ] {
        let value: u32 = value;
        public.extend_from_slice(&value.to_be_bytes()[4 - bytes..]);
    }
    let mut command = Command::new(TAG_SESSIONS, Code::CreatePrimary);
    command.u32(OWNER).bytes(&EMPTY_PASSWORD);
    // No password and no data of ours; nothing from outside, no PCR.
    command.sized(&[0; 4]).sized(&public).sized(&[]).u32(0);
    command.finish()
}

/// Makes a sealed object of a secret.
pub(super) fn create(parent: Handle, secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut command = Command::new(TAG_SESSIONS, Code::Create);
    command.u32(parent.0).bytes(&EMPTY_PASSWORD);
    let len = u16::try_from(secret.len()).unwrap_or(u16::MAX);
    command.u16(len + 4).sized(&[]).sized(secret);
    // Kind keyed hash, names by SHA-256, attributes, no policy, no scheme, no unique value.
    command.u16(14).u16(0x0008).u16(ALG_SHA256).u32(SEALED_DATA);
    command.sized(&[]).u16(ALG_NULL).sized(&[]);
    command.sized(&[]).u32(0);
    command.finish()
}

/// Loads an object.
pub(super) fn load(parent: Handle, private: &[u8], public: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut command = Command::new(TAG_SESSIONS, Code::Load);
    command.u32(parent.0).bytes(&EMPTY_PASSWORD).sized(private).sized(public);
    command.finish()
}

/// Reads the secret of a loaded object.
pub(super) fn unseal(object: Handle) -> Zeroizing<Vec<u8>> {
    let mut command = Command::new(TAG_SESSIONS, Code::Unseal);
    command.u32(object.0).bytes(&EMPTY_PASSWORD);
    command.finish()
}

/// Takes an object out of its place.
pub(super) fn flush(handle: Handle) -> Zeroizing<Vec<u8>> {
    let mut command = Command::new(TAG_NO_SESSIONS, Code::FlushContext);
    command.u32(handle.0);
    command.finish()
}

/// Whether a code complains of a parameter, a handle or a session (format one, part 2, section 6.6).
pub(super) const fn is_complaint(code: u32) -> bool {
    code & 0x80 != 0
}

/// How long the message is that begins with this head.
pub(super) fn message_len(head: &[u8; HEAD_BYTES]) -> Result<usize, TpmError> {
    let len = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if (HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&len) {
        Ok(len)
    } else {
        Err(TpmError::Malformed("an answer that is too short or too long"))
    }
}

/// An answer.
pub(super) struct Answer {
    bytes: Zeroizing<Vec<u8>>,
    at: usize,
}

impl Answer {
    /// An answer of these bytes.
    pub(super) fn read(bytes: Zeroizing<Vec<u8>>) -> Result<Self, TpmError> {
        let head = bytes.first_chunk().ok_or(TpmError::Malformed("an answer without a head"))?;
        let tag = u16::from_be_bytes([head[0], head[1]]);
        if message_len(head)? != bytes.len() || ![TAG_SESSIONS, TAG_NO_SESSIONS].contains(&tag) {
            return Err(TpmError::Malformed("an answer with another head"));
        }
        Ok(Self { bytes, at: HEAD_BYTES })
    }

    /// Its response code.
    pub(super) fn code(&self) -> u32 {
        self.bytes[6..HEAD_BYTES].iter().fold(0, |code, byte| code << 8 | u32::from(*byte))
    }

    fn number(&mut self) -> Result<u32, TpmError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let number = rest.first_chunk().ok_or(TpmError::Malformed("an answer that is cut off"))?;
        self.at += 4;
        Ok(u32::from_be_bytes(*number))
    }

    /// The handle of a made or loaded object.
    pub(super) fn handle(&mut self) -> Result<Handle, TpmError> {
        self.number().map(Handle)
    }

    /// The parameters of an answer without a handle.
    pub(super) fn parameters(&mut self) -> Result<&[u8], TpmError> {
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.get(..len).ok_or(TpmError::Malformed("parameters that are cut off"))
    }
}

/// Bytes with their number before them, and what comes after.
pub(super) fn sized(bytes: &[u8]) -> Result<(&[u8], &[u8]), TpmError> {
    let cut_off = TpmError::Malformed("a value that is cut off");
    let Some((len, rest)) = bytes.split_first_chunk() else { return Err(cut_off) };
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(cut_off)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_say_their_own_length() {
        for command in [
            create_storage_key(),
            create(Handle(0x8000_0000), &[7; 32]),
            load(Handle(0x8000_0000), &[1; 150], &[2; 60]),
            unseal(Handle(0x8000_0001)),
            flush(Handle(0x8000_0001)),
        ] {
            assert_eq!(message_len(command.first_chunk().unwrap()).unwrap(), command.len());
        }
    }

    #[test]
    fn code_of_an_integrity_failure_is_a_complaint_and_a_busy_tpm_is_none() {
        assert!(is_complaint(0x1df));
        assert!(!is_complaint(RETRY));
        // TPM_RC_INITIALIZE.
        assert!(!is_complaint(0x100));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = bytes.clone();
            if framed.len() >= HEAD_BYTES {
                framed[..2].copy_from_slice(&TAG_SESSIONS.to_be_bytes());
                let len = u32::try_from(framed.len()).unwrap();
                framed[2..6].copy_from_slice(&len.to_be_bytes());
            }
            for bytes in [bytes, framed] {
                if let Ok(mut answer) = Answer::read(Zeroizing::new(bytes)) {
                    let _code = answer.code();
                    if let Ok(body) = answer.parameters() {
                        let _value = sized(body);
                    }
                    drop(answer.handle());
                }
            }
        }
    }
}
