//! `CATALOG_DB=postgres://user:password@host1,host2:5433/database?sslmode=verify-full&…`: the
//! parts that the library reads, and TLS as libpq names it.
//!
//! - `sslmode`: `disable`; `prefer` (the default): TLS where the server offers it; `require`: TLS,
//!   whoever the server is; `verify-full`: TLS, and the certificate must name the host.
//! - `sslrootcert`: PEM file of the authorities that `verify-full` trusts.
//! - `target_session_attrs`: `read-write`, the default here: a standby takes no trade.
//!
//! The password never leaves: neither `Debug` nor `Display` nor a mistake shows it.

use postgres::Config;
use postgres::config::{Host, SslMode, TargetSessionAttrs};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The beginnings of such a URL.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// Bound of connecting to one host, unless the URL has `connect_timeout`: one that is gone without
/// a word must not keep the next host waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The connection counts as dead when the peer's kernel has confirmed nothing for so long.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(1);

/// A database server, as `CATALOG_DB` names it.
#[derive(Clone)]
pub struct PostgresUrl {
    /// Large, beside a file's path.
    pub(super) config: Box<Config>,
    pub(super) tls: MakeRustlsConnect,
}

impl PostgresUrl {
    /// Whether a text is meant as such a URL.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    /// The same with this password, unless the URL has one.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        if self.config.get_password().is_none() {
            self.config.password(password);
        }
        self
    }
}

impl FromStr for PostgresUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Taken apart here, since the library knows no `sslrootcert` and only three values of
        // `sslmode`.
        let (start, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut ssl_mode, mut roots, mut rest) = (String::from("prefer"), None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("the parameter {pair} has no value: write {pair}=…"))?;
            let value = percent_encoding::percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| format!("the value of {name} is not UTF-8"))?;
            match name {
                "sslmode" => ssl_mode = value.into(),
                "sslrootcert" => roots = Some(value.into_owned()),
                _ => rest.push(pair),
            }
        }
        let joint = if rest.is_empty() { "" } else { "?" };
        let mut config = Config::from_str(&format!("{start}{joint}{}", rest.join("&"))).map_err(
            // The cause names a parameter, never its value.
            |error| format!("{}: {SHAPE}", cause(&error)),
        )?;
        if config.get_hosts().is_empty() {
            return Err(format!("it names no host: {SHAPE}"));
        }
        // Asked of the text: the library reports its default, any host, as if the URL asked for it.
        if query.contains("target_session_attrs=")
            && config.get_target_session_attrs() != TargetSessionAttrs::ReadWrite
        {
            return Err("the catalog writes: write target_session_attrs=read-write".into());
        }
        // Of several hosts, one is the primary. A standby would take the connection and refuse the
        // first batch.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(TCP_USER_TIMEOUT)
            // Of a statement that the server got and whose answer never comes, only these notice
            // the end. The time-out is looked at when a probe is due, by default each 75 s.
            .keepalives_interval(TCP_USER_TIMEOUT);
        let (mode, client) = tls(&ssl_mode, roots.as_deref())?;
        config.ssl_mode(mode);
        Ok(Self {
            config: Box::new(config),
            tls: MakeRustlsConnect::new(client),
        })
    }
}

const SHAPE: &str = "write postgres://user@host1,host2/database?target_session_attrs=read-write, \
                     with letters such as @ : / ? in a password as %40 %3A %2F %3F";

fn cause(error: &postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The mode for the library, and the client that judges the server's certificate.
fn tls(mode: &str, roots: Option<&str>) -> Result<(SslMode, ClientConfig), String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    let anyone = |mode| {
        let judge = Arc::new(Anyone(provider));
        let client = builder.clone().dangerous();
        let client = client.with_custom_certificate_verifier(judge);
        (mode, client.with_no_client_auth())
    };
    match (mode, roots) {
        ("verify-full", Some(file)) => {
            let client = builder.clone().with_root_certificates(read_roots(file)?);
            Ok((SslMode::Require, client.with_no_client_auth()))
        }
        ("verify-full", None) => Err("sslmode=verify-full needs the authorities to trust: add \
                                      sslrootcert=FILE.pem (/etc/ssl/certs/ca-certificates.crt \
                                      are the system's)"
            .into()),
        // Refused, not ignored: whoever names authorities believes that they are checked.
        ("disable" | "prefer" | "require", Some(_)) => Err(format!(
            "sslrootcert would not be looked at with sslmode={mode}: write sslmode=verify-full"
        )),
        ("disable", None) => Ok(anyone(SslMode::Disable)),
        ("prefer", None) => Ok(anyone(SslMode::Prefer)),
        ("require", None) => Ok(anyone(SslMode::Require)),
        _ => Err(format!(
            "sslmode={mode} is not known: write disable, prefer, require or verify-full"
        )),
    }
}

fn read_roots(file: &str) -> Result<RootCertStore, String> {
    let refused = |why: String| {
        format!("sslrootcert={file}: {why}: name a PEM file with the authorities' certificates")
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| refused(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|e| refused(e.to_string()))?;
        roots.add(certificate).map_err(|e| refused(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("it has no certificate".into()));
    }
    Ok(roots)
}

/// Takes any certificate, as libpq does below `verify-ca`: the connection is private from those who
/// only listen. The handshake's signature is checked all the same.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// User, hosts and database, for logs.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}")?,
                Host::Unix(folder) => write!(f, "{comma}{}", folder.display())?,
            }
            // One port stands for all hosts.
            if let Some(port) = ports.get(at).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither what is printed of a URL nor a mistake in one shows the password.
    #[test]
    fn no_text_shows_the_password() {
        let url: PostgresUrl = "postgres://bazaar:s3cret%40@a,b:5433/shop"
            .parse()
            .expect("parses");
        for text in [
            url.to_string(),
            format!("{url:?}"),
            format!("{:?}", url.config),
        ] {
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(url.config.get_password(), Some(&b"s3cret@"[..]));
        let kept = url.with_password("other");
        assert_eq!(kept.config.get_password(), Some(&b"s3cret@"[..]));
        let added: PostgresUrl = "postgres://bazaar@a/shop".parse().expect("parses");
        let added = added.with_password("other");
        assert_eq!(added.config.get_password(), Some(&b"other"[..]));
        for wrong in [
            "postgres://bazaar:s3cret@a/shop?sslmode=no",
            "postgres://bazaar:s3cret@a/shop?colour=red",
            "postgres://bazaar:s3/cret@a:x/shop",
            "postgres://bazaar:s3cret@a:99999999/shop",
        ] {
            let mistake = wrong.parse::<PostgresUrl>().expect_err(wrong);
            assert!(!mistake.contains("cret"), "{mistake}");
        }
    }

    /// Each mistake in a URL names what is wrong and what to write.
    #[test]
    fn a_mistake_names_the_remedy() {
        for (url, remedy) in [
            ("postgres:///shop", "write postgres://user@host1,host2/"),
            (
                "postgres://a/b?sslmode=verify-ca",
                "write disable, prefer, require or verify-full",
            ),
            (
                "postgres://a/b?sslmode=verify-full",
                "add sslrootcert=FILE.pem",
            ),
            (
                "postgres://a/b?sslrootcert=x.pem",
                "write sslmode=verify-full",
            ),
            (
                "postgres://a/b?sslmode=verify-full&sslrootcert=/nowhere/x.pem",
                "sslrootcert=/nowhere/x.pem",
            ),
            (
                "postgres://a/b?target_session_attrs=any",
                "write target_session_attrs=read-write",
            ),
            ("postgres://a/b?connect_timeout", "write connect_timeout=…"),
            ("postgres://a/b?colour=red", "colour"),
        ] {
            let mistake = url.parse::<PostgresUrl>().expect_err(url);
            assert!(mistake.contains(remedy), "{url}: {mistake}");
        }
    }

    /// A server that vanishes is probed each second, also while an answer is waited for.
    #[test]
    fn a_silent_server_is_probed_each_second() {
        let url: PostgresUrl = "postgres://a/b".parse().expect("a URL");
        let second = Duration::from_secs(1);
        assert_eq!(url.config.get_keepalives_idle(), second);
        assert_eq!(url.config.get_keepalives_interval(), Some(second));
        assert_eq!(url.config.get_tcp_user_timeout(), Some(&second));
    }

    /// Several hosts, a database, and the parameters of TLS.
    #[test]
    fn a_url_of_several_hosts_is_read() {
        let text = "postgresql://bazaar@a,b:5433/shop?sslmode=require&application_name=x";
        let url: PostgresUrl = text.parse().expect("parses");
        assert_eq!(url.config.get_ssl_mode(), SslMode::Require);
        let attributes = url.config.get_target_session_attrs();
        assert_eq!(attributes, TargetSessionAttrs::ReadWrite);
        assert_eq!(url.config.get_hosts().len(), 2);
        assert_eq!(url.to_string(), "postgres://bazaar@a:5432,b:5433/shop");
    }
}
