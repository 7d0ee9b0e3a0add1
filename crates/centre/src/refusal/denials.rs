//! Refusals by the rules of `decide`: their status and their words.

use licence_core::time::Utc;
use licencekit::text::Language;

use crate::decide::Denial;

/// The HTTP status with its text.
pub(super) const fn status(denial: Denial) -> (u16, &'static str) {
    match denial {
        Denial::BlankUnproved => (400, "Bad Request"),
        Denial::BlankBlocked
        | Denial::BlankUnknown
        | Denial::DemoKept
        | Denial::DemoNotOffered
        | Denial::Expired
        | Denial::HolderBlocked
        | Denial::NeedsTpm
        | Denial::OwnerMismatch
        | Denial::Revoked
        | Denial::SelfReleaseOff => (403, "Forbidden"),
        Denial::KeyNotFound | Denial::Unknown => (404, "Not Found"),
        Denial::ClusterFull(_)
        | Denial::ClusterNone
        | Denial::ClusterOther
        | Denial::ClusterShared(_)
        | Denial::ClusterUntold
        | Denial::DemoBesideOthers
        | Denial::DemoUsed
        | Denial::MoveLimit(_)
        | Denial::NoMainKey
        | Denial::NodeUnnamed(_)
        | Denial::NotInstalled
        | Denial::Returned
        | Denial::Used => (409, "Conflict"),
    }
}

/// What to tell a person, with what the refusal names.
pub(super) fn text(denial: &Denial, language: Language) -> String {
    if let Denial::MoveLimit(next) = denial {
        return move_limit(*next, language);
    }
    let (english, russian) = if let Denial::ClusterFull(limit) = denial {
        (
            format!(
                "The key is on {limit} nodes of the cluster, and no more may have it: give it back \
                 on one of them first."
            ),
            format!(
                "Ключ уже установлен на разрешённом числе узлов кластера ({limit}): сначала верните \
                 его на одном из них."
            ),
        )
    } else if let Denial::ClusterShared(nodes) = denial {
        (
            format!("Other nodes of the cluster have the key ({nodes}): give it back there first."),
            format!(
                "Ключ установлен и на других узлах кластера ({nodes}): сначала верните его там."
            ),
        )
    } else if let Denial::NodeUnnamed(nodes) = denial {
        (
            format!(
                "Several nodes of a cluster have the key ({nodes}): name the activation \
                 (ActivationID)."
            ),
            format!(
                "Ключ установлен на нескольких узлах кластера ({nodes}): укажите активацию \
                 (ActivationID)."
            ),
        )
    } else {
        return denial_text(*denial, language).to_owned();
    };
    language.pick(&english, &russian).to_owned()
}

fn move_limit(next: Utc, language: Language) -> String {
    if next == Utc::MAX {
        return language
            .pick(
                "Keys of this series do not move. Ask the vendor.",
                "Ключи этой серии не переносятся. Обратитесь к поставщику.",
            )
            .to_owned();
    }
    let day: String = next.to_string().chars().take(10).collect();
    match language {
        Language::English => format!(
            "The key has made its moves of the year; the next one is possible from {day}. The vendor \
             can move it earlier."
        ),
        Language::Russian => format!(
            "Число переносов ключа за год исчерпано; следующий возможен с {day}. Раньше ключ может \
             перенести поставщик."
        ),
    }
}

/// The same for refusals that name nothing.
const fn denial_text(denial: Denial, language: Language) -> &'static str {
    match denial {
        Denial::BlankBlocked => language.pick(
            "The vendor has blocked this USB token.",
            "Поставщик заблокировал этот аппаратный носитель.",
        ),
        Denial::BlankUnknown => language.pick(
            "The USB token is not one of the vendor's: take one that the vendor has prepared.",
            "Аппаратный носитель не зарегистрирован у поставщика: используйте носитель, \
             подготовленный поставщиком.",
        ),
        Denial::BlankUnproved => language.pick(
            "The USB token has not proved that it is plugged in: plug it in and make a new request.",
            "Аппаратный носитель не подтвердил, что он подключён: подключите его и создайте новый \
             запрос.",
        ),
        Denial::ClusterFull(_) => language.pick(
            "As many nodes of the cluster as may have the key have it.",
            "Ключ уже установлен на разрешённом числе узлов кластера.",
        ),
        Denial::ClusterNone => language.pick(
            "The key is on a single server and not of a cluster. If the vendor lets clusters have it, \
             make that server a node and activate the code there once more; then the other nodes can.",
            "Ключ установлен на одном сервере вне кластера. Если поставщик разрешает кластеры, включите \
             тот сервер в кластер и активируйте код на нём ещё раз, затем — на остальных узлах.",
        ),
        Denial::ClusterOther => language.pick(
            "The key is shared by the nodes of a cluster, and this server is not one of them: check \
             [Cluster] Id in its settings.",
            "Ключ выдан узлам кластера, в который этот сервер не входит: проверьте [Cluster] Id в его \
             настройках.",
        ),
        Denial::ClusterShared(_) => language.pick(
            "Other nodes of the cluster have the key.",
            "Ключ установлен и на других узлах кластера.",
        ),
        Denial::ClusterUntold => language.pick(
            "A licence of a cluster is not given over a telephone: bring the request as a file or a QR \
             code.",
            "Лицензия для узла кластера по телефону не выдаётся: передайте запрос файлом или QR-кодом.",
        ),
        Denial::DemoBesideOthers => language.pick(
            "A demo key is not installed beside other keys of the product, and there is one on \
             this computer.",
            "Демонстрационный ключ нельзя установить вместе с другими ключами продукта, а на этом \
             компьютере такой ключ есть.",
        ),
        Denial::DemoKept => language.pick(
            "A demonstration key is for one computer: it cannot be given back.",
            "Демонстрационный ключ выдан одному компьютеру, вернуть его нельзя.",
        ),
        Denial::DemoNotOffered => language.pick(
            "The vendor gives no demo keys of this product without a code.",
            "Поставщик не выдаёт демонстрационные ключи этого продукта без кода.",
        ),
        Denial::DemoUsed => language.pick(
            "A demo key of this product was already activated on this computer.",
            "На этом компьютере уже активировали демонстрационный ключ этого продукта.",
        ),
        Denial::Expired => {
            language.pick("The term of this code has ended.", "Срок действия кода истёк.")
        }
        Denial::HolderBlocked => language.pick(
            "The vendor has blocked this licence server: ask the vendor.",
            "Поставщик заблокировал этот сервер лицензирования: обратитесь к поставщику.",
        ),
        Denial::KeyNotFound => language.pick(
            "The centre has issued no such key to this server.",
            "Центр не выдавал этому серверу такого ключа.",
        ),
        Denial::MoveLimit(_) => language.pick(
            "The key has made its moves of the year.",
            "Число переносов ключа за год исчерпано.",
        ),
        Denial::NeedsTpm => language.pick(
            "Keys of this product need a server whose identity is kept by a TPM 2.0.",
            "Ключам этого продукта нужен сервер, идентичность которого хранит TPM 2.0.",
        ),
        Denial::NoMainKey => language.pick(
            "An additional key is installed only beside a main key of the product: install that \
             one first.",
            "Дополнительный ключ устанавливается только вместе с основным ключом продукта: сначала \
             установите основной.",
        ),
        Denial::NodeUnnamed(_) => language.pick(
            "Several nodes of a cluster have the key.",
            "Ключ установлен на нескольких узлах кластера.",
        ),
        Denial::NotInstalled => language.pick(
            "The key is not installed anywhere.",
            "Ключ нигде не установлен.",
        ),
        Denial::OwnerMismatch => language.pick(
            "The code was sold to another owner: check ITN and IEC.",
            "Код продан другому владельцу: проверьте ИНН и КПП.",
        ),
        Denial::Returned => language.pick(
            "The key was given back; install it with its reserve code.",
            "Ключ возвращён; установите его по резервному коду.",
        ),
        Denial::Revoked => {
            language.pick("The vendor has revoked this code.", "Код отозван поставщиком.")
        }
        Denial::SelfReleaseOff => language.pick(
            "Keys of this product are released by the vendor only: ask the vendor.",
            "Ключи этого продукта освобождает только поставщик: обратитесь к поставщику.",
        ),
        Denial::Unknown => {
            language.pick("There is no such activation code.", "Такого кода активации нет.")
        }
        Denial::Used => language.pick(
            "The code was already activated by another server.",
            "Код уже активирован другим сервером.",
        ),
    }
}
