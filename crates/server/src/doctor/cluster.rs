//! The cluster from outside: whether etcd can be reached and entered, whether a majority of it answers,
//! whether this node is one of its cluster's, and whether the clocks of the nodes are alike.
//!
//! Asks etcd itself, so that it tells the truth while the server is stopped. It changes nothing: the
//! right to write is tried by a transaction whose comparison never holds.

use std::time::Duration;

use licence_core::cluster::record::Alive;
use licence_core::cluster::{ClusterId, Compare, NodeId, Op, Txn};
use licence_core::language::Language;
use licence_core::time::Utc;

use crate::cluster::etcd::{EndpointStatus, Etcd, EtcdError};
use crate::cluster::picture::Contents;
use crate::config::Config;
use crate::health::{Check, checks};
use crate::paths::Paths;
use crate::{clock, identity};

/// How far the clocks of two nodes may differ: a pass of one node for another is good for a minute.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// The checks of a cluster; none for a server that stands alone.
pub(super) fn checks(paths: &Paths, config: &Config) -> Vec<Check> {
    let Some(id) = config.cluster.id else { return Vec::new() };
    let etcd = match Etcd::new(&config.cluster.etcd(&paths.settings()), &id.prefix()) {
        Ok(etcd) => etcd,
        Err(error) => {
            let check = Check::failed(
                "etcd",
                format!("TLS к etcd не настроить: {}.", error.text(Language::Russian)),
                format!("TLS to etcd cannot be set up: {}.", error.text(Language::English)),
            )
            .advise(
                "Проверьте [Cluster] CA, Certificate и Key и права службы на эти файлы; без них \
                 сервер в кластере не участвует.",
                "Check [Cluster] CA, Certificate and Key and whether the service may read those files; \
                 without them the server takes no part in its cluster.",
            );
            return vec![check];
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(ask(&etcd, id, node(paths))),
        Err(error) => vec![Check::warning(
            "etcd",
            format!("etcd не спрошен: {error}."),
            format!("etcd was not asked: {error}."),
        )],
    }
}

/// This node; nothing when its identity is not made yet or cannot be read, which another check tells.
fn node(paths: &Paths) -> Option<NodeId> {
    let files = [paths.identity(), paths.identity_plain()];
    let file = files.into_iter().find(|path| path.exists())?;
    Some(NodeId::of(&identity::public_in(&file).ok()?))
}

/// Asks etcd; each call has the bound of the settings.
async fn ask(etcd: &Etcd, id: ClusterId, me: Option<NodeId>) -> Vec<Check> {
    let found = etcd.status().await;
    let mut checks = vec![endpoints(&found)];
    if found.iter().all(|one| one.answer.is_err()) {
        return checks;
    }
    let contents = match etcd.range("").await {
        Ok(loaded) => Contents::of(&loaded.entries),
        Err(error) => {
            checks.push(unread(&error));
            return checks;
        }
    };
    checks.push(unwritable(etcd).await.unwrap_or_else(|| membership(id, me, &contents)));
    checks.extend(clocks(&contents, clock::utc()));
    checks
}

/// What the endpoints say of themselves.
fn endpoints(found: &[EndpointStatus]) -> Check {
    let (mut wrong, mut is_led, mut answered) = ((Vec::new(), Vec::new()), false, 0);
    let mut version = String::new();
    for EndpointStatus { endpoint, answer, .. } in found {
        match answer {
            Ok(member) => {
                answered += 1;
                is_led |= member.leader != 0;
                version.clone_from(&member.version);
                if !member.errors.is_empty() {
                    let said = format!("{endpoint}: {}", member.errors.join(", "));
                    wrong.0.push(said.clone());
                    wrong.1.push(said);
                }
            }
            Err(error) => {
                wrong.0.push(error.text(Language::Russian));
                wrong.1.push(error.text(Language::English));
            }
        }
    }
    let total = found.len();
    let (russian, english) = (wrong.0.join("; "), wrong.1.join("; "));
    if wrong.1.is_empty() && is_led {
        return Check::ok(
            "etcd",
            format!("etcd {version} отвечает: {answered} из {total}, лидер есть."),
            format!("etcd {version} answers: {answered} of {total}, it has a leader."),
        );
    }
    if answered == 0 {
        let errors = || found.iter().filter_map(|one| one.answer.as_ref().err());
        let (advice_russian, advice_english) = advice(errors());
        let (ru, en) = if errors().any(is_of_the_user) {
            ("etcd не пускает этот сервер", "etcd does not let this server in")
        } else {
            ("etcd не отвечает ни по одному адресу", "etcd answers at none of its addresses")
        };
        return Check::failed("etcd", format!("{ru}: {russian}."), format!("{en}: {english}."))
            .advise(advice_russian, advice_english);
    }
    if !is_led {
        return Check::failed(
            "etcd",
            format!("У etcd нет лидера: большинство его узлов не работает или отрезано. {russian}"),
            format!("etcd has no leader: a majority of its members is down or cut off. {english}"),
        )
        .advise(
            "Запустите остальные узлы etcd или восстановите сеть между ними.",
            "Start the other members of etcd, or mend the network between them.",
        );
    }
    if found.iter().any(|one| {
        one.answer.as_ref().is_ok_and(|it| it.errors.iter().any(|said| said.contains("NOSPACE")))
    }) {
        return Check::failed(
            "etcd",
            format!("В etcd кончилось место, записей нет: {russian}."),
            format!("etcd has no space left and writes nothing: {english}."),
        )
        .advise(
            "Освободите его: docs/cluster.md, «Место на диске».",
            "Free some: docs/cluster.md, \"Space on the disk\".",
        );
    }
    let errors = found.iter().filter_map(|one| one.answer.as_ref().err());
    let (advice_russian, advice_english) = advice(errors);
    Check::warning(
        "etcd",
        format!("etcd отвечает: {answered} из {total}. {russian}."),
        format!("etcd answers: {answered} of {total}. {english}."),
    )
    .advise(advice_russian, advice_english)
}

/// What to do about the first of these that says something.
fn advice<'a>(errors: impl Iterator<Item = &'a EtcdError>) -> (&'static str, &'static str) {
    let errors: Vec<&EtcdError> = errors.collect();
    if errors.iter().any(|error| is_of_the_user(error)) {
        return OF_THE_USER;
    }
    if errors.iter().any(|error| matches!(error, EtcdError::Tls { .. })) {
        return (
            "Проверьте [Cluster] CA и сертификат etcd: имя из Endpoints, срок, serverAuth и clientAuth \
             (docs/cluster.md, «TLS»).",
            "Check [Cluster] CA and the certificate of etcd: the name of Endpoints, its term, \
             serverAuth and clientAuth (docs/cluster.md, \"TLS\").",
        );
    }
    if errors.iter().any(|error| matches!(error, EtcdError::OtherCluster { .. })) {
        return (
            "Оставьте в [Cluster] Endpoints адреса одного etcd.",
            "Leave the addresses of one etcd in [Cluster] Endpoints.",
        );
    }
    (
        "Проверьте, что etcd запущен, а его адрес и порт доступны с этого компьютера.",
        "Check that etcd runs and that its address and port can be reached from this computer.",
    )
}

const OF_THE_USER: (&str, &str) = (
    "Проверьте [Cluster] User, Password и Certificate и права пользователя (docs/cluster.md, \
     «Пользователь с правами на префикс»).",
    "Check [Cluster] User, Password and Certificate and the user's rights (docs/cluster.md, \"A user \
     with rights on the prefix\").",
);

const fn is_of_the_user(error: &EtcdError) -> bool {
    matches!(
        error,
        EtcdError::CommonName | EtcdError::Denied | EtcdError::Password | EtcdError::Unknown { .. }
    )
}

/// Endpoints answer, and yet nothing can be read.
fn unread(error: &EtcdError) -> Check {
    let (russian, english) = if is_of_the_user(error) {
        OF_THE_USER
    } else {
        (
            "Чтение подтверждает большинство узлов etcd: запустите остальные узлы или восстановите \
             сеть между ними.",
            "A majority of etcd confirms what is read: start its other members, or mend the network \
             between them.",
        )
    };
    Check::failed(
        "cluster",
        format!("Записи кластера не прочитать: {}.", error.text(Language::Russian)),
        format!("The records of the cluster cannot be read: {}.", error.text(Language::English)),
    )
    .advise(russian, english)
}

/// Why nothing could be written, if so. The transaction compares what never holds, and would delete a
/// key that never is; etcd looks at rights before it compares, and a majority confirms the answer.
async fn unwritable(etcd: &Etcd) -> Option<Check> {
    let compare = vec![Compare::Created { key: "settings".to_owned(), revision: i64::MAX }];
    let then = vec![Op::Delete { key: "doctor".to_owned() }];
    let error = etcd.txn(&Txn { compare, then }).await.err()?;
    let (russian, english) = if is_of_the_user(&error) {
        OF_THE_USER
    } else {
        (
            "Посмотрите, что сообщает licenceserver cluster status.",
            "Look at what `licenceserver cluster status` says.",
        )
    };
    let check = Check::failed(
        "cluster",
        format!("Записать в etcd нельзя: {}.", error.text(Language::Russian)),
        format!("Nothing can be written into etcd: {}.", error.text(Language::English)),
    );
    Some(check.advise(russian, english))
}

/// Whether this node belongs to what lies in etcd, and how that is.
fn membership(id: ClusterId, me: Option<NodeId>, contents: &Contents) -> Check {
    if contents.settings.is_none() && !contents.damaged.contains_key("settings") {
        return Check::failed(
            "cluster",
            format!("Кластера {id} в этом etcd нет."),
            format!("This etcd knows no cluster {id}."),
        )
        .advise(
            "Проверьте [Cluster] Id и Endpoints; если etcd потерян, см. docs/cluster.md, «Заменить узел, \
             уйти, авария».",
            "Check [Cluster] Id and Endpoints; if etcd was lost, see docs/cluster.md, \"Replacing a \
             node, leaving, disaster\".",
        );
    }
    if me.is_none_or(|me| !contents.members.contains_key(&me)) {
        return Check::warning(
            "cluster",
            "Этот сервер ещё не записан узлом кластера.",
            "This server is not recorded as a node of its cluster yet.",
        )
        .advise(
            "Запустите сервер: он запишет себя сам. Если его исключили командой forget навсегда, \
             выполните на нём licenceserver cluster leave.",
            "Start the server: it records itself. If it was taken out by `forget` for good, run \
             `licenceserver cluster leave` on it.",
        );
    }
    checks::cluster_recorded(id, me, contents)
}

/// Nodes that say to have started later than it is here: the clocks of these and of this computer
/// differ by as much at least. That others are behind is not seen, so nothing is said when all is well.
fn clocks(contents: &Contents, now: Utc) -> Option<Check> {
    let apart = |alive: &Alive| {
        let millis = alive.started.unix_millis().saturating_sub(now.unix_millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    };
    let ahead = contents.alive.iter().map(|(id, alive)| (id, apart(alive)));
    let ahead: Vec<String> = ahead
        .filter(|(_, apart)| *apart >= CLOCKS_APART)
        .map(|(id, apart)| {
            let name = contents.members.get(id).map(|member| member.name.as_str());
            let name = name.filter(|name| !name.is_empty());
            let name = name.map_or_else(|| id.to_string(), str::to_owned);
            format!("{name} +{} s", apart.as_secs())
        })
        .collect();
    if ahead.is_empty() {
        return None;
    }
    let ahead = ahead.join(", ");
    let check = Check::warning(
        "cluster_clock",
        format!("Часы узлов впереди часов этого компьютера, не меньше чем на: {ahead}."),
        format!("Clocks of nodes are ahead of this computer's, by at least: {ahead}."),
    );
    Some(check.advise(
        "Включите синхронизацию времени на всех узлах: при разнице больше минуты узлы не принимают \
         обращений друг друга.",
        "Synchronise the time of all nodes: when they differ by more than a minute, nodes refuse each \
         other.",
    ))
}

#[cfg(test)]
mod tests;
