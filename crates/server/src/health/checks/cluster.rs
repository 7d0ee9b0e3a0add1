//! The check of the cluster: whether this node is in touch with etcd and the others are there.
//!
//! Looks at values handed to it.

use licence_core::cluster::shared::SharedName;
use licence_core::cluster::{ClusterId, NodeId, Standing};
use licence_core::time::MonoTime;

use super::super::Check;
use super::listed;
use crate::cluster::State;
use crate::cluster::picture::{Contents, Picture};

/// How the cluster is, as this node sees it.
pub fn cluster(state: &State, now: MonoTime) -> Check {
    let problem = state.problem.as_deref().map(|why| format!(" {why}.")).unwrap_or_default();
    match state.standing {
        Standing::Isolated { since } => {
            let secs = now.since(since).as_secs();
            return Check::failed(
                "cluster",
                format!("Связи с etcd нет {secs} с: новые лицензии не выдаются, занятые остаются.{problem}"),
                format!("etcd has not answered for {secs} s: no seats are given out, those that are held go on.{problem}"),
            )
            .advise(
                "Восстановите связь с etcd; что будет, если её нет дольше, сказано в docs/cluster.md.",
                "Bring etcd back; docs/cluster.md says what happens if it stays away.",
            );
        }
        Standing::Starting => {
            return Check::warning(
                "cluster",
                format!("Узел ещё не вошёл в кластер.{problem}"),
                format!("The node is not yet part of its cluster.{problem}"),
            )
            .advise("Проверьте доступность etcd.", "Check that etcd can be reached.");
        }
        Standing::Joined | Standing::Stopping => {}
    }
    recorded(state.cluster, Some(state.me), &state.contents)
}

/// How the cluster is by what lies in etcd.
pub fn recorded(cluster: ClusterId, me: Option<NodeId>, contents: &Contents) -> Check {
    let damaged = || contents.damaged.keys();
    let shared: Vec<String> =
        damaged().filter(|key| SharedName::parse(key).is_some()).cloned().collect();
    if !shared.is_empty() && shared.len() == damaged().count() {
        return Check::failed(
            "cluster",
            format!(
                "Общие правила или коды доступа в etcd не читаются: {}; действуют последние годные.",
                listed(&shared)
            ),
            format!(
                "Rules or access codes that the nodes share cannot be read in etcd: {}; the last \
                 good ones are in force.",
                listed(&shared)
            ),
        )
        .advise(
            "Задайте их заново (страница «Правила», код доступа ключа): запись заменится.",
            "Set them again (page Rules, access code of a key): that replaces the record.",
        );
    }
    if !contents.damaged.is_empty() {
        let keys: Vec<String> = damaged().cloned().collect();
        return Check::failed(
            "cluster",
            format!("Записи кластера в etcd не читаются: {}.", listed(&keys)),
            format!("Records of the cluster in etcd cannot be read: {}.", listed(&keys)),
        )
        .advise(
            "Восстановите etcd из копии; ключи с такими записями не выдают лицензий.",
            "Restore etcd from a backup; keys with such records give out no seats.",
        );
    }
    let picture = Picture::new(cluster, me, contents);
    let down: Vec<String> = picture
        .nodes
        .iter()
        .filter(|node| !node.alive)
        .map(|node| if node.name.is_empty() { node.id.to_string() } else { node.name.clone() })
        .collect();
    if !down.is_empty() {
        return Check::warning(
            "cluster",
            format!("Нет связи с узлами кластера: {}.", listed(&down)),
            format!("Nodes of the cluster are down: {}.", listed(&down)),
        )
        .advise(
            "Запустите их; узел, которого больше не будет, исключите командой licenceserver cluster \
             forget.",
            "Start them; a node that is down for good is taken out by `licenceserver cluster forget`.",
        );
    }
    let count = picture.nodes.len();
    Check::ok("cluster", format!("Узлов на связи: {count}."), format!("Nodes in touch: {count}."))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use licence_core::cluster::record::{Alive, Member};
    use licence_core::seal::SigningKey;
    use licence_core::time::Utc;

    use super::super::super::State as Level;
    use super::*;

    #[test]
    fn cluster_is_told_by_what_this_node_sees() {
        let (own, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let utc = Utc::from_unix_millis(0);
        let id = |key: &SigningKey| NodeId::of(&key.public());
        let member = |key: &SigningKey, name: &str| {
            let (name, key) = (name.to_owned(), key.public().jwk());
            Member { name, key, addresses: Vec::new(), joined: utc }
        };
        let alive = || Alive {
            version: "1".into(),
            started: utc,
            held: BTreeMap::new(),
            keys: BTreeMap::new(),
        };
        let contents = |both: bool, damaged: Option<&str>| {
            let mut contents = Contents::default();
            contents.members.insert(id(&own), member(&own, "north"));
            contents.members.insert(id(&other), member(&other, "south"));
            contents.alive.insert(id(&own), alive());
            if both {
                contents.alive.insert(id(&other), alive());
            }
            if let Some(key) = damaged {
                contents.damaged.insert(key.into(), "torso".into());
            }
            Arc::new(contents)
        };
        let since = MonoTime::from_millis(1000);
        for (standing, contents, level, part) in [
            (Standing::Joined, contents(true, None), Level::Ok, "in touch: 2"),
            (Standing::Joined, contents(false, None), Level::Warning, "down: south"),
            (Standing::Joined, contents(true, Some("pools/7")), Level::Failed, "pools/7"),
            (
                Standing::Joined,
                contents(true, Some("shared/rules")),
                Level::Failed,
                "shared/rules; the last good",
            ),
            (Standing::Starting, contents(true, None), Level::Warning, "not yet"),
            (Standing::Isolated { since }, contents(true, None), Level::Failed, "for 9 s"),
        ] {
            let state = State {
                cluster: ClusterId::from_bytes([1; 16]),
                me: id(&own),
                standing,
                contents,
                answered: None,
                renewal_millis: None,
                problem: None,
            };
            let check = cluster(&state, MonoTime::from_millis(10_000));
            assert_eq!(check.state, level, "{check:?}");
            assert!(check.english.contains(part), "{part}: {check:?}");
            assert_eq!(check.advice_english.is_empty(), level == Level::Ok, "{check:?}");
        }
    }
}
