//! Signatures by GOST R 34.10-2012 as companies make them: a certification authority of the stage,
//! certificates of persons, signing and checking, all by Debian's openssl with its GOST engine.
//!
//! Knows nothing of what is signed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Stage, StageError, make_folder, write_file};

/// The engine's settings, and names of what certificates of Russian organisations carry.
const CONF: &str = "openssl_conf = main
[main]
engines = engines
oid_section = oids
[oids]
INNLE = 1.2.643.100.4
[engines]
gost = gost
[gost]
engine_id = gost
default_algorithms = ALL
[req]
distinguished_name = name
prompt = no
string_mask = utf8only
[name]
CN = unused
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[holder]
keyUsage = critical, digitalSignature, nonRepudiation
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
";

/// How openssl makes a signature that the service accepts: attached, CAdES-BES.
const SIGN: [&str; 9] =
    ["cms", "-sign", "-binary", "-nodetach", "-cades", "-md", "md_gost12_256", "-outform", "DER"];

/// Days of a certificate.
const DAYS: i32 = 30;

/// A certification authority.
#[derive(Clone, Debug)]
pub struct Gost {
    folder: PathBuf,
}

/// Somebody who can sign: a key and its certificate.
#[derive(Clone, Debug)]
pub struct Signatory {
    gost: Gost,
    inn: String,
}

/// A signature that is right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// What is signed.
    pub content: Vec<u8>,
    /// Every ИНН in the signer's certificate, without the noughts of older ones.
    pub inns: Vec<String>,
}

impl Gost {
    /// An authority with a key of its own, below the stage.
    ///
    /// # Errors
    ///
    /// When openssl or its engine is not there.
    pub fn make(stage: &Stage, name: &str) -> Result<Self, StageError> {
        let folder = stage.root().join(name);
        make_folder(&folder)?;
        write_file(&folder.join("openssl.cnf"), CONF)?;
        let own = Self { folder };
        own.openssl(
            &[
                "req",
                "-new",
                "-x509",
                "-nodes",
                "-utf8",
                "-newkey",
                "gost2012_256",
                "-pkeyopt",
                "paramset:A",
                "-md_gost12_256",
                "-subj",
                "/C=RU/CN=УЦ стенда",
                "-extensions",
                "authority",
                "-days",
                "3650",
                "-keyout",
                "authority.key",
                "-out",
                "authority.crt",
            ],
            b"",
        )?;
        Ok(own)
    }

    /// A certificate for an organisation (ИНН of 10 digits, as newer certificates have it) or for a
    /// person (12 digits).
    ///
    /// # Errors
    ///
    /// When openssl fails.
    pub fn issue(&self, inn: &str) -> Result<Signatory, StageError> {
        self.issue_for(inn, DAYS)
    }

    /// The same for so many days; for a negative number one that has ended.
    ///
    /// # Errors
    ///
    /// When openssl fails.
    pub fn issue_for(&self, inn: &str, days: i32) -> Result<Signatory, StageError> {
        let attribute = if inn.len() == 10 { "INNLE" } else { "INN" };
        let subject = format!("/C=RU/O=ООО Стенд {inn}/CN=Подписант {inn}/{attribute}={inn}");
        let [key, request, certificate] = ["key", "csr", "crt"].map(|end| format!("{inn}.{end}"));
        self.openssl(
            &[
                "req",
                "-new",
                "-nodes",
                "-utf8",
                "-newkey",
                "gost2012_256",
                "-pkeyopt",
                "paramset:A",
                "-md_gost12_256",
                "-subj",
                &subject,
                "-keyout",
                &key,
                "-out",
                &request,
            ],
            b"",
        )?;
        self.openssl(
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "authority.crt",
                "-CAkey",
                "authority.key",
                "-CAcreateserial",
                "-md_gost12_256",
                "-days",
                &days.to_string(),
                "-extfile",
                "openssl.cnf",
                "-extensions",
                "holder",
                "-out",
                &certificate,
            ],
            b"",
        )?;
        Ok(Signatory { gost: self.clone(), inn: inn.to_owned() })
    }

    /// The command that signs what it is given as whoever has the ИНН that stands for `{INN}`: program
    /// and arguments, as `[ISMP] SignCommand` takes them.
    pub fn sign_command(&self) -> String {
        let conf = self.folder.join("openssl.cnf");
        let file = |end: &str| self.folder.join(format!("{{INN}}.{end}")).display().to_string();
        let (signer, key) = (file("crt"), file("key"));
        format!(
            "/usr/bin/env OPENSSL_CONF={} openssl {} -signer {signer} -inkey {key}",
            conf.display(),
            SIGN.join(" ")
        )
    }

    /// Checks an attached signature, up to the authority.
    ///
    /// # Errors
    ///
    /// When it is not right, or openssl is not there.
    pub fn verify(&self, der: &[u8]) -> Result<Verified, StageError> {
        let signer = tempfile::Builder::new()
            .prefix("signer-")
            .tempfile_in(&self.folder)
            .map_err(|why| StageError::io(&self.folder, why))?;
        let path = signer.path().display().to_string();
        let content = self.openssl(
            &[
                "cms",
                "-verify",
                "-binary",
                "-cades",
                "-inform",
                "DER",
                "-CAfile",
                "authority.crt",
                "-purpose",
                "any",
                "-signer",
                &path,
            ],
            der,
        )?;
        let subject = self.openssl(
            &["x509", "-in", &path, "-noout", "-subject", "-nameopt", "sep_multiline,sname,utf8"],
            b"",
        )?;
        let subject = String::from_utf8_lossy(&subject).into_owned();
        let inns = subject.lines().filter_map(|line| line.trim().split_once('=')).filter_map(
            |(name, value)| match name {
                "INN" => Some(value.strip_prefix("00").unwrap_or(value)),
                "INNLE" => Some(value),
                _ => None,
            },
        );
        Ok(Verified { content, inns: inns.map(str::to_owned).collect() })
    }

    /// The folder with keys and certificates, each named by its ИНН.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn openssl(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, StageError> {
        let program = Path::new("openssl");
        let failed = |why| StageError::io(program, why);
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder);
        command.env("OPENSSL_CONF", self.folder.join("openssl.cnf"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that has seen enough does not read to the end; its exit code tells.
            drop(stdin.write_all(input));
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let what = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        Err(StageError::failed(format!(
            "openssl {what}: {}; its GOST engine is in Debian's libengine-gost-openssl",
            said.trim()
        )))
    }
}

impl Signatory {
    /// Whose certificate it is.
    pub fn inn(&self) -> &str {
        &self.inn
    }

    /// Signs a text so that it stands in the signature; base64 without line breaks.
    ///
    /// # Errors
    ///
    /// When openssl fails.
    pub fn sign(&self, text: &str) -> Result<String, StageError> {
        self.sign_with(text, &SIGN)
    }

    /// Signs a text that stays outside.
    ///
    /// # Errors
    ///
    /// When openssl fails.
    pub fn sign_detached(&self, text: &str) -> Result<String, StageError> {
        let options: Vec<&str> = SIGN.into_iter().filter(|option| *option != "-nodetach").collect();
        self.sign_with(text, &options)
    }

    fn sign_with(&self, text: &str, options: &[&str]) -> Result<String, StageError> {
        let [key, certificate] = ["key", "crt"].map(|end| format!("{}.{end}", self.inn));
        let mut call = options.to_vec();
        call.extend(["-signer", &certificate, "-inkey", &key]);
        Ok(STANDARD.encode(self.gost.openssl(&call, text.as_bytes())?))
    }
}
