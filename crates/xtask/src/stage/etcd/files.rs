//! Certificates of an etcd on the stage: an authority of its own, one for each member, one of a client.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};

use crate::stage::pem::pem;
use crate::stage::{StageError, write_file};

/// Label of a certificate.
const CERTIFICATE: &str = "CERTIFICATE";

/// Where they lie.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
    /// The authority.
    pub authority: PathBuf,
    /// A client's certificate, without a common name: an etcd that asks for users takes no other one
    /// through its gateway.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// A client's certificate with a common name.
    pub named_certificate: PathBuf,
    /// Its key.
    pub named_key: PathBuf,
}

impl Files {
    pub(super) fn make(folder: &Path, members: &[Ipv4Addr]) -> Result<Self, StageError> {
        let files = Self {
            folder: folder.to_owned(),
            authority: folder.join("authority.pem"),
            certificate: folder.join("client.pem"),
            key: folder.join("client.key"),
            named_certificate: folder.join("named.pem"),
            named_key: folder.join("named.key"),
        };
        let failed = |why: rcgen::Error| StageError::failed(format!("certificates of etcd: {why}"));
        let authority = authority("etcd of the stage").map_err(failed)?;
        write_file(&files.authority, &pem(CERTIFICATE, authority.der()))?;
        let write = |certificate: &Path, key: &Path, name: Option<&str>, address| {
            let (pem, secret) = signed(&authority, name, address).map_err(failed)?;
            write_file(certificate, &pem)?;
            write_file(key, &secret)
        };
        for (place, address) in members.iter().enumerate() {
            let place = u8::try_from(place).unwrap_or(u8::MAX);
            let (certificate, key) = files.member(place);
            write(&certificate, &key, Some(&super::name_of(place)), Some(*address))?;
        }
        write(&files.certificate, &files.key, None, None)?;
        write(&files.named_certificate, &files.named_key, Some("licenceserver"), None)?;
        Ok(files)
    }

    /// Certificate and key of a member.
    pub(super) fn member(&self, place: u8) -> (PathBuf, PathBuf) {
        let name = super::name_of(place);
        (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}.key")))
    }

    /// Another authority, which has signed nothing here.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn stranger(&self) -> Result<PathBuf, StageError> {
        let failed = |why: rcgen::Error| StageError::failed(format!("certificates of etcd: {why}"));
        let path = self.folder.join("stranger.pem");
        write_file(&path, &pem(CERTIFICATE, authority("somebody else").map_err(failed)?.der()))?;
        Ok(path)
    }
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn signed(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: Option<&str>,
    address: Option<Ipv4Addr>,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    // What the crate puts there by itself is a common name.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Stage");
    if let Some(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names.extend(address.map(|address| SanType::IpAddress(address.into())));
    // The gateway of a member calls the member itself as a client, with the same certificate.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, authority)?;
    Ok((pem(CERTIFICATE, certificate.der()), pem("PRIVATE KEY", &key.serialize_der())))
}
