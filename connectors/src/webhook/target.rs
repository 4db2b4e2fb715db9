//! Where requests may go. What a name stands for is looked at when it is resolved, for every connection: a name that
//! leads to this machine, or to what only its neighbours can reach (cloud machines find their credentials there), is
//! refused. An address of this machine that is written out is permission enough.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use thalweg_schemas::error::{Error, Result};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// An address that requests go to.
#[derive(Clone)]
pub struct Target {
    url: String,
    host: String,
    /// Whether addresses of this machine are meant.
    loopback: bool,
    /// Whether any address is.
    any: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl Target {
    /// Reads the address in option `option` of `owner`. With `any` a name may stand for this machine and its link too.
    pub fn parse(owner: &str, option: &str, url: &str, any: bool) -> Result<Target> {
        let wrong = || {
            Error::user(format!("option \"{option}\" of {owner} is not the address of a server"))
                .with_hint("Write it as 'https://host:port/path'.")
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        Target::of(owner, url, authority, any)
    }

    /// Reads the address of a server that is not spoken to by HTTP: `host:port`.
    pub fn host_and_port(owner: &str, option: &str, text: &str, any: bool) -> Result<Target> {
        let authority: Option<Authority> = text.parse().ok();
        let authority = authority.filter(|known| known.port_u16().is_some() && !known.as_str().contains('@'));
        let authority = authority.ok_or_else(|| {
            Error::user(format!("option \"{option}\" of {owner} is not the address of a server"))
                .with_hint("Write it as 'host:port'.")
        })?;
        Target::of(owner, text, &authority, any)
    }

    fn of(owner: &str, url: &str, authority: &Authority, any: bool) -> Result<Target> {
        let name = authority.host();
        let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
        let loopback =
            name.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.to_canonical().is_loopback());
        if address.is_some_and(|ip| is_near(ip) && !loopback) && !any {
            return Err(refused(owner, name));
        }
        let host = authority.as_str().rsplit('@').next().unwrap_or_default().to_string();
        Ok(Target { url: url.to_string(), host, loopback, any })
    }

    /// The address as it was written: it may hold what is secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host's name alone.
    pub fn name(&self) -> &str {
        self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name).trim_matches(['[', ']'])
    }

    /// Whether this machine is meant.
    pub fn is_local(&self) -> bool {
        self.loopback
    }

    /// What `host:port` stands for now. An error to be tried again where nothing is known of it, and of the user's where it
    /// may not be called.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let unknown = |error: std::io::Error| Error::retry(format!("{}: {error}", self.host));
        let addresses: Vec<SocketAddr> = self.host.to_socket_addrs().map_err(unknown)?.collect();
        let guard = Guard::of(self, false);
        match addresses.iter().find(|address| !guard.permits(address)) {
            None => Ok(addresses),
            Some(address) => Err(Error::user(stands_for(self.name(), address))),
        }
    }
}

fn stands_for(name: &str, address: &SocketAddr) -> String {
    format!(
        "{name} stands for {}, which only this machine and its neighbours can reach; allow_local = 'true' permits it",
        address.ip()
    )
}

fn refused(owner: &str, name: &str) -> Error {
    Error::user(format!("{owner} may not call {name}, which only this machine and its neighbours can reach"))
        .with_hint("Say allow_local = 'true' if it is meant.")
}

/// Whether an address is this machine's or on its link: loopback, link-local, and those that stand for either.
fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => {
            let inner = within(ip).is_some_and(|inner| is_near(IpAddr::V4(inner)));
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || inner
        }
    }
}

/// The address that a gateway or a tunnel may make of one: of NAT64 (RFC 6052), 6to4 (RFC 3056), and the compatible form that is no
/// longer used (RFC 4291, 2.5.5.1).
fn within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Resolves names, and refuses what they may not stand for.
#[derive(Debug)]
pub(super) struct Guard {
    loopback: bool,
    any: bool,
    resolver: DefaultResolver,
}

impl Guard {
    /// The guard of requests to `target`. Of one behind a proxy only the proxy's own name is resolved here.
    pub fn of(target: &Target, proxy: bool) -> Guard {
        Guard { loopback: target.loopback, any: target.any || proxy, resolver: DefaultResolver::default() }
    }

    fn permits(&self, address: &SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.any || !is_near(ip) || self.loopback && ip.is_loopback()
    }
}

impl Resolver for Guard {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = self.resolver.resolve(uri, config, timeout)?;
        match addresses.iter().find(|address| !self.permits(address)) {
            None => Ok(addresses),
            Some(address) => {
                let said = stands_for(uri.host().unwrap_or_default(), address);
                Err(ureq::Error::Other(said.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::call::{Answer, CallOptions, Caller};
    use std::time::Duration;

    fn options() -> CallOptions {
        CallOptions { timeout: Duration::from_secs(10), user_agent: "test".to_string(), ca: None, proxy: None }
    }

    fn parse(url: &str) -> Result<Target> {
        Target::parse("notifier \"ops\"", "url", url, false)
    }

    #[test]
    fn this_machine_is_meant_where_it_is_written_out() {
        for url in ["http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:80/", "http://[::ffff:127.0.0.1]/"] {
            let target = parse(url).unwrap();
            let guard = Guard::of(&target, false);
            assert!(guard.permits(&"127.0.0.1:9".parse().unwrap()), "{url}");
            assert!(!guard.permits(&"169.254.169.254:80".parse().unwrap()), "{url}");
        }
        let named = Guard::of(&parse("https://example.org/hook").unwrap(), false);
        for near in ["127.0.0.1:1", "169.254.1.1:1", "0.0.0.0:1", "[::1]:1", "[fe80::1]:1", "[::ffff:169.254.1.1]:1"] {
            assert!(!named.permits(&near.parse().unwrap()), "{near}");
        }
        for near in ["[64:ff9b::a9fe:a9fe]:1", "[64:ff9b::7f00:1]:1", "[2002:7f00:1::]:1", "[::127.0.0.1]:1"] {
            assert!(!named.permits(&near.parse().unwrap()), "{near} leads to this machine or its link");
        }
        for far in ["10.0.0.7:80", "[64:ff9b::5db8:d70e]:80", "[2606:2800:220::1]:80"] {
            assert!(named.permits(&far.parse().unwrap()), "{far}: a private network is not this machine");
        }
    }

    /// However it is spelled, a host that is no name is what the system takes it for.
    #[test]
    fn numbers_stand_for_addresses_too() {
        for (url, means) in [
            ("http://2130706433/", "127.0.0.1"),
            ("http://0x7f000001/", "127.0.0.1"),
            ("http://0177.0.0.1/", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://2852039166/", "169.254.169.254"),
            ("http://0/", "0.0.0.0"),
        ] {
            let caller = Caller::new(parse(url).unwrap(), &options()).unwrap();
            let Answer::Refused { said, .. } = caller.call(false, &[], b"") else { panic!("{url} was called") };
            let name = url.trim_start_matches("http://").trim_end_matches('/');
            assert!(said.starts_with(&format!("{name} stands for {means}, which only this machine")), "{said}");
        }
    }

    #[test]
    fn a_server_that_is_not_called_by_http_is_guarded_too() {
        let read = |text: &str| Target::host_and_port("notifier \"ops\"", "smarthost", text, false);
        let local = read("localhost:2525").unwrap();
        assert!((local.name(), local.host(), local.is_local()) == ("localhost", "localhost:2525", true));
        assert!(local.addresses().unwrap().iter().all(|address| address.ip().is_loopback()));
        assert_eq!(read("[::1]:25").unwrap().name(), "::1");
        for wrong in ["", "host", "host:port", "user@host:25", "http://host:25/"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let near = Target { loopback: false, ..local };
        assert!(near.addresses().unwrap_err().message.contains("allow_local = 'true' permits it"));
        assert!(read("169.254.169.254:25").is_err());
    }

    #[test]
    fn a_link_local_address_needs_permission() {
        let error = parse("http://169.254.169.254/latest").unwrap_err();
        assert!(error.message.contains("may not call 169.254.169.254"), "{error}");
        assert!(Target::parse("sink \"s\"", "url", "http://169.254.169.254/latest", true).is_ok());
        assert!(parse("ftp://x").is_err() && parse("nothing").is_err() && parse("http://").is_err());
        let target = parse("http://user:secret@example.org:8080/hook?token=x").unwrap();
        assert_eq!((target.host(), format!("{target:?}").as_str()), ("example.org:8080", "example.org:8080"));
    }
}
