//! The command line of `licencekit datafile`, of `licencekit c` and of `licencekit parameters`.
//!
//! Names, values and help, no deeds.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use licence_core::datafile::ObjectAccess;
use licence_core::key::KeySeries;

/// Commands about data files.
#[derive(Debug, Subcommand)]
pub enum DatafileCommand {
    /// Seal processors, reports and texts into a data file of a series.
    ///
    /// The same sources give the same file, byte for byte. Exit codes: 0 done, 1 failed, 2 wrong
    /// usage, 3 the file exists and -y was not given.
    Pack(Pack),
    /// Verify the list of a data file and show it.
    List {
        /// The data file.
        file: PathBuf,
        /// XXXX.series or licence.series.
        #[arg(long)]
        series: PathBuf,
        /// Print the list as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Verify a data file: its list and, with the secret of the series, every object.
    Verify {
        /// The data file.
        file: PathBuf,
        /// XXXX.series or licence.series; without it the secret of the series decides.
        #[arg(long, required_unless_present = "cryptkey")]
        series: Option<PathBuf>,
        /// XXXX.cryptkey: then every object is opened.
        #[arg(long)]
        cryptkey: Option<PathBuf>,
        /// File with the passphrase; without it LICENCE_PASSPHRASE is used.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
    },
    /// Open a data file with the secret of its series and write its objects as files.
    Unpack {
        /// The data file.
        file: PathBuf,
        /// XXXX.cryptkey.
        #[arg(long)]
        cryptkey: PathBuf,
        /// Folder for the objects; made when missing, for its owner only.
        #[arg(short, long)]
        out: PathBuf,
        /// File with the passphrase; without it LICENCE_PASSPHRASE is used.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// Replace files that exist.
        #[arg(short, long)]
        yes: bool,
    },
}

/// Arguments of `datafile pack`.
#[derive(Args, Debug)]
pub struct Pack {
    /// The data file, usually XXXX.datafile.
    pub out: PathBuf,
    /// Files to seal. * and ? in the name are expanded here, on Windows too. An .epf or .erf is a
    /// processor or report, anything else a text.
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// XXXX.cryptkey, the secret of the series.
    #[arg(long)]
    pub cryptkey: PathBuf,
    /// Four hex digits; the secret must be that of this series.
    #[arg(long)]
    pub series: Option<KeySeries>,
    /// Encoding of texts; a byte-order mark comes before it.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Encoding::Auto)]
    pub encoding: Encoding,
    /// Who gets an object: a session with a seat, one for presence only too, or everybody while
    /// there is a key of the series.
    #[arg(long, value_name = "NAME=seat|presence|key")]
    pub access: Vec<AccessRule>,
    /// File with the passphrase; without it LICENCE_PASSPHRASE is used.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// Replace a file that exists.
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `c`, in the words of the original editor's command line.
#[derive(Args, Debug)]
pub struct OriginalPack {
    /// The data file.
    pub out: PathBuf,
    /// Files to seal; * and ? in the name are expanded here.
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Four hex digits.
    #[arg(long, alias = "series")]
    pub serie: Option<KeySeries>,
    /// XXXX.cryptkey; without it the file is looked for beside OUT and in the current folder.
    #[arg(long)]
    pub cryptkey: Option<PathBuf>,
    /// Encoding of texts; a byte-order mark comes before it.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Encoding::Ansi)]
    pub encoding: Encoding,
    /// File with the passphrase; without it LICENCE_PASSPHRASE is used.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// Replace a file that exists.
    #[arg(short, long)]
    pub yes: bool,
}

/// Commands about licence parameters.
#[derive(Debug, Subcommand)]
pub enum ParametersCommand {
    /// Read a file of licence parameters and show what is wrong with it, by line.
    Check {
        /// The file, as it will be packed under the name Параметры or Parameters.
        file: PathBuf,
        /// Its encoding; a byte-order mark comes before it.
        #[arg(long, value_enum, ignore_case = true, default_value_t = Encoding::Auto)]
        encoding: Encoding,
    },
}

/// Encoding of a text that is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Encoding {
    /// UTF-8 where it is, else windows-1251.
    Auto,
    /// Windows-1251.
    Ansi,
    /// UTF-8.
    Utf8,
    /// UTF-16, little-endian without a byte-order mark.
    Utf16,
}

/// Who gets the object of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessRule {
    /// Name of the object.
    pub name: String,
    /// Who gets it.
    pub access: ObjectAccess,
}

impl FromStr for AccessRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected NAME=seat, NAME=presence or NAME=key".to_owned();
        let (name, access) = text.rsplit_once('=').ok_or_else(wrong)?;
        let access = match access.trim() {
            "seat" => ObjectAccess::Seat,
            "presence" => ObjectAccess::Presence,
            "key" => ObjectAccess::Key,
            _ => return Err(wrong()),
        };
        let name = name.trim();
        if name.is_empty() { Err(wrong()) } else { Ok(Self { name: name.to_owned(), access }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_a_name_and_one_of_three_words() {
        let rule = |text: &str| text.parse::<AccessRule>();
        let wanted = AccessRule { name: "Цены".into(), access: ObjectAccess::Presence };
        assert_eq!(rule("Цены=presence"), Ok(wanted));
        assert_eq!(rule(" a = key ").unwrap().access, ObjectAccess::Key);
        for bad in ["", "a", "a=", "=seat", "a=Seat", "a=seats"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }
}
