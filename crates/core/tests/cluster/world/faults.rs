//! What goes wrong.

use licence_core::cluster::Event;

use super::{Msg, World};

impl World {
    pub(super) fn fault(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let next = 300 + self.draw.below(4000);
        self.after(next, Msg::Fault);
        let host = self.draw.below(self.hosts.len() as u64) as usize;
        match self.draw.below(16) {
            0 | 1 => {
                if self.hosts[host].node.is_some() {
                    self.count("kill");
                    self.note(|| format!("kill {host}"));
                    let back = match self.draw.below(12) {
                        0..=5 => 200,
                        6..=9 => self.draw.below(20_000),
                        // So long that the others take what it had.
                        _ => 95_000,
                    };
                    self.kill(host, back);
                }
            }
            2 | 3 => {
                self.count("pause");
                let long = self.draw.chance(30);
                let span = self.draw.below(if long { 40_000 } else { 6_000 });
                self.note(|| format!("pause {host} for {span}"));
                self.hosts[host].paused_until = self.t + span;
            }
            4..=6 => {
                self.count("cut");
                self.note(|| format!("cut {host}"));
                self.hosts[host].cut = true;
            }
            7 | 8 => self.hosts[host].cut = false,
            9 => {
                self.hosts[host].deaf = !self.hosts[host].deaf;
                self.count("deaf");
            }
            10 => {
                if self.draw.chance(50) {
                    self.count("etcd down");
                    self.etcd.down = true;
                }
            }
            11 => {
                self.etcd.elect(self.t);
                self.count("elect");
            }
            12 => self.etcd.compact(),
            13 => {
                if self.hosts[host].node.is_some() && self.hosts[host].paused_until <= self.t {
                    self.count("stop");
                    self.feed(host, Event::Stop);
                }
            }
            _ => {
                for host in &mut self.hosts {
                    host.cut = false;
                    host.deaf = false;
                }
            }
        }
        if self.etcd.down && self.draw.chance(30) {
            self.etcd.down = false;
            self.etcd.elect(self.t);
        }
    }

    /// Nothing is broken from here on, and nobody comes or goes.
    pub(crate) fn heal(&mut self) {
        if self.etcd.down {
            self.etcd.down = false;
            self.etcd.elect(self.t);
        }
        for host in 0..self.hosts.len() {
            self.hosts[host].cut = false;
            self.hosts[host].deaf = false;
            self.hosts[host].paused_until = self.t;
        }
        self.mend_all();
        for host in 0..self.hosts.len() {
            self.replace(host);
            self.after(100, Msg::Start { host });
        }
        // Whoever was dead finds its place again, and what was held up by etcd's absence is over.
        self.healed_at = Some(self.t + 15_000);
    }
}
