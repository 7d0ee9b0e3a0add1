//! Whether the maker of a token vouches that a key was made inside it: X.509 chains (RFC 5280) up to
//! roots that the vendor has put into the data folder.
//!
//! Which tokens the vendor has registered stands in the books; this is for the others. Revocation
//! lists are not looked at: makers of tokens publish none for attestations.

use licence_core::holder::TokenKey;
use licence_core::time::Utc;
use x509_parser::oid_registry::OID_EC_P256;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// Longest chain, the key's certificate included: makers use two or three.
const CHAIN_MAX: usize = 4;

/// Largest certificate, in bytes: those of makers have some 800.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// Roots of the makers whose word counts.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Vec<u8>>);

/// Not a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an X.509 certificate in DER")]
pub struct NotACertificate;

impl Roots {
    /// Adds a root.
    ///
    /// # Errors
    ///
    /// When it is no certificate.
    pub fn add(&mut self, der: Vec<u8>) -> Result<(), NotACertificate> {
        read(&der).ok_or(NotACertificate)?;
        self.0.push(der);
        Ok(())
    }

    /// Whether `chain` (DER, the key's certificate first, a root may be left out) is signed up to
    /// one of the roots and says that it is about this key.
    pub fn vouch(&self, chain: &[Vec<u8>], key: &TokenKey, now: Utc) -> bool {
        if !(1..=CHAIN_MAX).contains(&chain.len()) {
            return false;
        }
        let Ok(now) = ASN1Time::from_timestamp(now.unix_seconds()) else {
            return false;
        };
        let Some(certificates) = chain.iter().map(|der| read(der)).collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let [leaf, above @ ..] = certificates.as_slice() else {
            return false;
        };
        if !is_about(leaf, key) {
            return false;
        }
        // Who owns a token can sign anything with a key that is vouched for: only an authority's
        // signature below it counts.
        let mut below = leaf;
        for (depth, issuer) in above.iter().enumerate() {
            if self.has_signed(below, depth, now) {
                return true;
            }
            if !is_authority(issuer, depth, now) || !is_signed_by(below, issuer) {
                return false;
            }
            below = issuer;
        }
        self.has_signed(below, above.len(), now) || self.is_root(below)
    }

    /// Whether a root has signed this certificate, which has `depth` authorities below.
    fn has_signed(&self, certificate: &X509Certificate<'_>, depth: usize, now: ASN1Time) -> bool {
        self.0
            .iter()
            .filter_map(|der| read(der))
            .any(|root| is_authority(&root, depth, now) && is_signed_by(certificate, &root))
    }

    /// Whether a chain ends with one of the roots itself; its issuer was checked on the way.
    fn is_root(&self, certificate: &X509Certificate<'_>) -> bool {
        self.0.iter().filter_map(|der| read(der)).any(|root| {
            root.tbs_certificate.as_ref() == certificate.tbs_certificate.as_ref()
                && root.signature_value.data == certificate.signature_value.data
                && is_ca(&root)
        })
    }
}

fn read(der: &[u8]) -> Option<X509Certificate<'_>> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return None;
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

fn is_about(certificate: &X509Certificate<'_>, key: &TokenKey) -> bool {
    let info = certificate.public_key();
    let is_p256 = info
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok())
        .is_some_and(|curve| curve == OID_EC_P256);
    is_p256 && *info.subject_public_key.data == *key.as_bytes().as_slice()
}

fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    certificate.basic_constraints().ok().flatten().is_some_and(|found| found.value.ca)
}

/// Whether a certificate may sign others with `depth` authorities between it and the key's.
fn is_authority(certificate: &X509Certificate<'_>, depth: usize, now: ASN1Time) -> bool {
    let constraints = certificate.basic_constraints().ok().flatten();
    let may = constraints.is_some_and(|found| {
        let longest = found.value.path_len_constraint;
        found.value.ca && longest.is_none_or(|longest| longest as usize >= depth)
    });
    may && certificate.validity().is_valid_at(now)
}

fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
        PKCS_ECDSA_P384_SHA384,
    };

    use super::*;

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    fn token(pair: &KeyPair) -> TokenKey {
        TokenKey::from_point(pair.public_key_raw()).unwrap()
    }

    fn named(name: &str, is_ca: bool) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        if is_ca {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        parameters
    }

    struct Maker {
        root: Vec<u8>,
        middle: Vec<u8>,
        leaf: Vec<u8>,
        leaf_key: KeyPair,
        middle_key: KeyPair,
    }

    fn maker() -> Maker {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let middle_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let root = named("root", true);
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(root, &root_key);
        let middle = named("token 5", true);
        let middle_der = middle.signed_by(&middle_key, &root_issuer).unwrap().der().to_vec();
        let middle_issuer = Issuer::new(middle, &middle_key);
        let leaf = named("slot 9e", false).signed_by(&leaf_key, &middle_issuer).unwrap();
        let leaf = leaf.der().to_vec();
        Maker { root: root_der, middle: middle_der, leaf, leaf_key, middle_key }
    }

    fn roots(of: &Maker) -> Roots {
        let mut roots = Roots::default();
        roots.add(of.root.clone()).unwrap();
        roots
    }

    #[test]
    fn key_is_vouched_for_by_its_chain_with_and_without_the_root_in_it() {
        let maker = maker();
        let (roots, key) = (roots(&maker), token(&maker.leaf_key));
        let chain = vec![maker.leaf.clone(), maker.middle.clone()];
        assert!(roots.vouch(&chain, &key, now()));
        let whole = vec![maker.leaf.clone(), maker.middle.clone(), maker.root.clone()];
        assert!(roots.vouch(&whole, &key, now()));
        assert!(!Roots::default().vouch(&whole, &key, now()), "nobody trusts this root");
        assert!(!roots.vouch(&chain[..1], &key, now()));
        assert!(!roots.vouch(&[], &key, now()));
        assert!(!roots.vouch(&[maker.middle.clone(), maker.leaf.clone()], &key, now()));
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(!roots.vouch(&chain, &token(&other), now()), "the key of another token");
        let mut changed = chain;
        let last = changed[0].len() - 1;
        changed[0][last] ^= 1;
        assert!(!roots.vouch(&changed, &key, now()));
        assert!(!roots.vouch(&[vec![0x30; 64], maker.middle], &key, now()));
        assert!(Roots::default().add(b"no certificate".to_vec()).is_err());
    }

    #[test]
    fn key_that_is_vouched_for_cannot_vouch_for_another() {
        let maker = maker();
        let soft = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        for claims_to_be_ca in [false, true] {
            let issuer = Issuer::new(named("slot 9e", claims_to_be_ca), &maker.leaf_key);
            let forged = named("soft", false).signed_by(&soft, &issuer).unwrap().der().to_vec();
            let chain = vec![forged, maker.leaf.clone(), maker.middle.clone()];
            assert!(!roots(&maker).vouch(&chain, &token(&soft), now()));
        }
    }

    #[test]
    fn another_makers_root_of_the_same_name_is_none() {
        let (maker, other) = (maker(), maker());
        let chain = vec![maker.leaf.clone(), maker.middle.clone()];
        assert!(!roots(&other).vouch(&chain, &token(&maker.leaf_key), now()));
        assert_eq!(token(&maker.middle_key).as_bytes().len(), 65);
    }
}
