//! The ports of all services are free before one of them starts.

use cluster::addresses::{Addresses, is_free};
use common::port_owner::listener;
use common::settings::addresses::ListenAddress;
use std::io;
use std::net::TcpListener;

/// Checks all ports before anything starts, and names all taken ones in one error.
pub(super) fn check_ports(addresses: &Addresses, public: &ListenAddress) -> Result<(), String> {
    let all = addresses.all();
    let twice = all.iter().enumerate().find_map(|(i, (service, address))| {
        let address = ListenAddress::from(*address);
        let mut before = all[..i].iter();
        let other = before.find(|(_, other)| address.collides_with(&(*other).into()))?;
        Some(format!(
            "{address} is the address of both {} and {service}: each needs a port of its own",
            other.0
        ))
    });
    if let Some(twice) = twice {
        return Err(twice);
    }
    let mut taken: Vec<_> = all
        .iter()
        .filter(|(_, address)| !is_free(*address))
        .cloned()
        .collect();
    // Further addresses of a name. The front-end skips an address that this machine does not have,
    // so only a port in use is an error.
    let further = public.all().iter().filter(|a| **a != public.one());
    let in_use = further.filter(|address| {
        TcpListener::bind(address).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
    });
    taken.extend(in_use.map(|address| ("front-end, for clients".into(), *address)));
    if taken.is_empty() {
        return Ok(());
    }
    let mut message = String::from("these addresses cannot be listened on; nothing was started:");
    for (service, address) in &taken {
        let owner =
            listener(address.port()).map_or(String::new(), |owner| format!(": {owner} has it"));
        message += &format!("\n  {address} ({service}){owner}");
    }
    let port = taken[0].1.port();
    message += &format!(
        "\nstop the programs that use them ('ss -ltnp sport = :{port}' shows one), \
         or take other ports: bazaar run --ports-from 9000"
    );
    Err(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// The error names every taken address with its service, and the remedy.
    #[test]
    fn taken_ports_are_named() {
        let used = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|l| Ok((l.local_addr()?, l)))
            .expect("a port");
        let mut addresses = Addresses::consecutive(1, 3, 1);
        addresses.orders[1] = used.0;
        let public = addresses.frontends[0].public.into();
        let error = check_ports(&addresses, &public).expect_err("one is taken");
        assert!(
            error.contains(&format!("{} (order2)", used.0)) && error.contains("--ports-from"),
            "{error}"
        );
    }
}
