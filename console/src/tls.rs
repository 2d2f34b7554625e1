//! TLS: what a connection shows, and whom it trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};

/// Where systems keep the authorities that they trust.
const SYSTEM_FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The options about it, with redis-cli's names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Speak TLS; rediss:// in a uri says so too
    #[arg(long)]
    pub tls: bool,
    /// The name that the server's certificate is to have [default: the host]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// The authorities to trust, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The same, a folder of files
    #[arg(long, value_name = "FOLDER")]
    cacertdir: Option<PathBuf>,
    /// Trust whatever certificate the server shows
    #[arg(long)]
    insecure: bool,
    /// The certificate to show, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

fn wrong(path: &Path, why: impl ToString) -> Error {
    Error::Usage(format!("{}: {}", path.display(), why.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let list = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let list = list.map_err(|error| wrong(path, error))?;
    if list.is_empty() { Err(wrong(path, "there is no certificate in it")) } else { Ok(list) }
}

impl TlsArgs {
    /// What sessions are made of.
    ///
    /// # Errors
    /// When a file is not there or has not what it should have.
    pub fn config(&self) -> Result<Arc<ClientConfig>> {
        let useless = |error: rustls::Error| Error::Usage(format!("tls: {error}"));
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(useless)?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.insecure {
            Arc::new(TrustsAll(provider))
        } else {
            let made = WebPkiServerVerifier::builder_with_provider(Arc::new(self.authorities()?), provider).build();
            made.map_err(|error| Error::Usage(format!("tls: {error}")))?
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?;
                builder.with_client_auth_cert(certificates(cert)?, key).map_err(useless)?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    /// The name that the certificate has to have.
    ///
    /// # Errors
    /// When it can't be a host's.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>> {
        let name = self.sni.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| Error::Usage(format!("{name:?} is no host's name: give --sni")))
    }

    fn authorities(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let mut add = |path: &Path| {
            // some of a system's may be of a kind that is not read
            roots.add_parsable_certificates(certificates(path)?);
            Ok::<_, Error>(())
        };
        if let Some(path) = &self.cacert {
            add(path)?;
        }
        if let Some(folder) = &self.cacertdir {
            let entries = std::fs::read_dir(folder).map_err(|error| wrong(folder, error))?;
            for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_file()) {
                // there are other things in such a folder
                let _ = add(&path);
            }
        }
        if self.cacert.is_none() && self.cacertdir.is_none() {
            let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
            let there = SYSTEM_FILES.iter().map(PathBuf::from).find(|path| path.exists());
            if let Some(path) = named.or(there) {
                add(&path)?;
            }
        }
        if roots.is_empty() {
            Err(Error::Usage("no authority is known to trust: give --cacert".into()))
        } else {
            Ok(roots)
        }
    }
}

/// `--insecure`: what is sent is secret, and nobody knows from whom.
#[derive(Debug)]
struct TrustsAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
