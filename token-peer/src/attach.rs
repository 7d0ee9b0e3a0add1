//! Plugs the USB/IP token into this computer's kernel and takes it out again, in place of the
//! kernel's own tools: import the device over TCP, hand the socket to `vhci_hcd`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;

use crate::Failure;

/// The port of USB/IP, which the device's crate fixes.
const PORT: u16 = 3240;

/// The bus id under which the device's crate exports its only device.
const BUS_ID: &[u8] = b"1-1";

/// OP_REQ_IMPORT of version 1.11, status 0.
const IMPORT: [u8; 8] = [0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];

/// Speeds from here on are SuperSpeed and take a port of the other hub.
const SPEED_SUPER: u32 = 5;

/// State of a port that is free, in the kernel's table.
const PORT_FREE: &str = "004";

const HUB: &str = "/sys/devices/platform/vhci_hcd.0";

/// Plugs the device in and prints the number of its port.
pub(crate) fn attach() -> Result<(), Failure> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_nodelay(true)?;
    let mut request = IMPORT.to_vec();
    request.extend_from_slice(BUS_ID);
    request.resize(IMPORT.len() + 32, 0);
    stream.write_all(&request)?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    if head[4..] != [0; 4] {
        return Err("the device is not exported, or taken already".into());
    }
    let mut device = [0; 312];
    stream.read_exact(&mut device)?;
    let word = |at: usize| {
        u32::from_be_bytes([device[at], device[at + 1], device[at + 2], device[at + 3]])
    };
    let (bus, number, speed) = (word(288), word(292), word(296));
    let status = std::fs::read_to_string(format!("{HUB}/status"))?;
    let port = free_port(&status, speed).ok_or("no port of vhci_hcd is free")?;
    let id = (bus << 16) | number;
    std::fs::write(format!("{HUB}/attach"), format!("{port} {} {id} {speed}", stream.as_raw_fd()))?;
    println!("port {port}");
    Ok(())
}

/// Unplugs what is in the port.
pub(crate) fn detach(port: u16) -> Result<(), Failure> {
    std::fs::write(format!("{HUB}/detach"), port.to_string())?;
    Ok(())
}

/// The first free port for this speed in the kernel's table: hub, port, state, and more.
fn free_port(status: &str, speed: u32) -> Option<u32> {
    let hub = if speed < SPEED_SUPER { "hs" } else { "ss" };
    status.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let fits = words.next() == Some(hub);
        let port = words.next()?.parse().ok()?;
        (fits && words.next() == Some(PORT_FREE)).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "hub port sta spd dev      sockfd local_busid\n\
                         hs  0000 006 003 00010002 000003 1-1\n\
                         hs  0001 004 000 00000000 000000 0-0\n\
                         ss  0008 004 000 00000000 000000 0-0\n";

    #[test]
    fn first_free_port_of_the_right_hub_is_taken() {
        assert_eq!(free_port(TABLE, 3), Some(1));
        assert_eq!(free_port(TABLE, 5), Some(8));
        assert_eq!(free_port("hub port sta\nhs 0000 006 003\n", 3), None);
    }
}
