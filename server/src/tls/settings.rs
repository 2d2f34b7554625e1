//! From the configuration's files to what sessions are made of.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::config::{AuthClients, CertificateUser, Config, Protocols, Secret};

/// Sessions that are kept at most: there is memory for all of them from the beginning.
const MOST_SESSIONS: u32 = 1 << 16;

/// Why there is no TLS as the configuration wants it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A directive is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// A file or folder can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It has not what it should have.
    #[error("{}: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
    /// What is read does not fit together.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities are of no use.
    #[error("{0}")]
    Verifier(#[from] VerifierBuilderError),
}

fn content(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Content { path: path.to_path_buf(), reason: reason.to_string() }
}

fn read_failed(path: &Path, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::Read { path: path.to_path_buf(), source },
        other => content(path, other),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let list = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let list = list.map_err(|error| read_failed(path, error))?;
    if list.is_empty() { Err(content(path, "there is no certificate in it")) } else { Ok(list) }
}

/// What an encrypted key begins with.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
/// What OpenSSL wrote before it knew these.
const ENCRYPTED_LONG_AGO: &str = "Proc-Type: 4,ENCRYPTED";

/// The certificate's key; a password that it does not need is not looked at.
fn private_key(path: &Path, password: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_path_buf(), source })?;
    // what is no text has no key in it either
    let text = String::from_utf8_lossy(&bytes);
    if let Some(at) = text.find(ENCRYPTED) {
        return decrypted(path, &text[at..], password);
    }
    if text.contains(ENCRYPTED_LONG_AGO) {
        return Err(content(
            path,
            "the key is encrypted in a way that is not read: openssl pkcs8 -topk8 -in FILE -out FILE writes it anew",
        ));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => content(path, "there is no private key in it"),
        other => read_failed(path, other),
    })
}

/// A key in PKCS#8 that is encrypted (PBES2, with PBKDF2 or scrypt, and AES: what openssl writes).
fn decrypted(path: &Path, pem: &str, password: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    if password.is_empty() {
        return Err(content(path, "the key is encrypted, and there is no tls-key-file-pass"));
    }
    let (_, sealed) = SecretDocument::from_pem(pem).map_err(|error| content(path, error))?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes()).map_err(|error| content(path, error))?;
    let key = sealed.decrypt(password.bytes());
    let key =
        key.map_err(|error| content(path, format!("the key can't be decrypted with tls-key-file-pass: {error}")))?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

/// The authorities whose certificates clients and primaries may show; without any, `missing` is what is wrong.
fn authorities(config: &Config, missing: &'static str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut add = |path: &Path| {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| content(path, error))?;
        }
        Ok::<_, TlsError>(())
    };
    if let Some(path) = &config.tls_ca_cert_file {
        add(path)?;
    }
    if let Some(folder) = &config.tls_ca_cert_dir {
        let failed = |source| TlsError::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // other things lie there too, links by their hashes among them
            if path.is_file()
                && CertificateDer::pem_file_iter(&path).is_ok_and(|mut list| matches!(list.next(), Some(Ok(_))))
            {
                add(&path)?;
            }
        }
    }
    if roots.is_empty() {
        return Err(TlsError::Missing(missing));
    }
    Ok(roots)
}

const NO_CLIENTS: &str = "tls-auth-clients needs tls-ca-cert-file or tls-ca-cert-dir, or has to be 'no'";
const NO_PRIMARIES: &str = "tls-replication needs tls-ca-cert-file or tls-ca-cert-dir";

fn versions(protocols: Protocols) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    match protocols {
        Protocols::Stock | Protocols::Both => BOTH,
        Protocols::Only12 => &BOTH[1..],
        Protocols::Only13 => &BOTH[..1],
    }
}

/// What a session with a primary is made of (`tls-replication`).
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn client_config(config: &Config) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions(config.tls_protocols))?;
    let builder = builder.with_root_certificates(authorities(config, NO_PRIMARIES)?);
    let own = match (&config.tls_client_cert_file, &config.tls_client_key_file) {
        (Some(certificate), Some(key)) => Some((certificate, key, &config.tls_client_key_file_pass)),
        _ => config
            .tls_cert_file
            .as_ref()
            .zip(config.tls_key_file.as_ref())
            .map(|(certificate, key)| (certificate, key, &config.tls_key_file_pass)),
    };
    Ok(Arc::new(match own {
        Some((certificate, key, password)) => {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key, password)?)?
        }
        None => builder.with_no_client_auth(),
    }))
}

/// What the sessions of `tls-port` are made of, as the configuration and the files that it names are now.
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn server_config(config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
    let (Some(certificate), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else {
        return Err(TlsError::Missing("tls-port needs tls-cert-file and tls-key-file"));
    };
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions(config.tls_protocols))?;
    let builder = match config.tls_auth_clients {
        AuthClients::No if config.tls_auth_clients_user != CertificateUser::Off => {
            return Err(TlsError::Missing(
                "tls-auth-clients-user needs tls-auth-clients 'yes' or 'optional': nobody is asked for a certificate",
            ));
        }
        AuthClients::No => builder.with_no_client_auth(),
        asks => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(config, NO_CLIENTS)?), provider);
            let verifier = if asks == AuthClients::Optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut made =
        builder.with_single_cert(certificates(certificate)?, private_key(key, &config.tls_key_file_pass)?)?;
    if config.tls_session_caching {
        let sessions = match config.tls_session_cache_size {
            0 => MOST_SESSIONS,
            size => size.min(MOST_SESSIONS),
        };
        let sessions = usize::try_from(sessions).unwrap_or(usize::MAX);
        made.session_storage = ServerSessionMemoryCache::new(sessions);
    } else {
        made.session_storage = Arc::new(NoServerSessionStorage {});
        made.send_tls13_tickets = 0;
    }
    Ok(Arc::new(made))
}
