//! Certificates of servers: a new authority each time.

use std::{io, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::place::Place;

/// Files that servers in one place use.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// An authority, and a certificate by it for `localhost` and `127.0.0.1`.
    pub(crate) fn new(place: &Place) -> io::Result<Self> {
        let texts = make().map_err(io::Error::other)?;
        Ok(Self {
            ca: place.write("ca.pem", &texts.authority, true)?,
            server: place.write("server.pem", &texts.server, true)?,
            key: place.write("key.pem", &texts.server_key, false)?,
        })
    }
}

struct Texts {
    authority: String,
    server: String,
    server_key: String,
}

fn make() -> Result<Texts, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "tokenkeep test authority");
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);

    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate()?;
    Ok(Texts {
        authority: certificate.pem(),
        server: server.signed_by(&server_key, &issuer)?.pem(),
        server_key: server_key.serialize_pem(),
    })
}
