//! Power cuts: a database that stops at its n-th statement, for every n there is. What was asked is
//! asked again of the books as they then are: the same licence, one activation, one code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use licence_core::centre_request::{RECEIPT_TYP, ReturnReceipt};
use licence_core::jws;
use licence_core::licence_file::LICENCE_TYP;
use licencekit::vendor::UnsignedKind;

use super::*;
use crate::store::sql::{Row, Value};

/// A database that works until its budget of calls is spent; then nothing reaches it any more, as
/// after `kill -9`. A commit may be carried out before the answer is lost.
#[derive(Debug)]
struct Cut {
    /// Gone when the power is.
    engine: Option<Box<dyn Engine>>,
    left: u32,
    /// How many calls there were.
    used: Arc<AtomicU32>,
    /// Whether the call that the cut meets is carried out.
    carried_out: bool,
}

fn dark<T>() -> Result<T, SqlError> {
    Err(SqlError::Lost)
}

impl Cut {
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Engine) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let Some(engine) = &mut self.engine else { return dark() };
        self.used.fetch_add(1, Ordering::SeqCst);
        if self.left == 0 {
            if self.carried_out {
                let _ = call(engine.as_mut());
            }
            // Closing the connection undoes what was not committed.
            self.engine = None;
            return dark();
        }
        self.left -= 1;
        call(engine.as_mut())
    }
}

impl Engine for Cut {
    fn begin(&mut self) -> Result<(), SqlError> {
        self.call(|engine| engine.begin())
    }

    fn commit(&mut self) -> Result<(), SqlError> {
        self.call(|engine| engine.commit())
    }

    fn rollback(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.rollback();
        }
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, SqlError> {
        self.call(|engine| engine.execute(sql, values))
    }

    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        self.call(|engine| engine.rows(sql, values))
    }

    fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        self.call(|engine| engine.script(sql))
    }
}

/// Carries `step` out with the power cut at each of its statements, each time on what the cuts
/// before have left, until it goes through; then once more. All that it ever answers must be alike.
fn walk<T: PartialEq + std::fmt::Debug>(
    place: &Place,
    step: impl Fn(&mut Store) -> Result<T, StoreError>,
) -> T {
    let mut answers: Vec<T> = Vec::new();
    for carried_out in [false, true] {
        for left in 0.. {
            assert!(left < 200, "a step of more statements than any has");
            let used = Arc::new(AtomicU32::new(0));
            let engine = Some(open(place).engine);
            let cut = Cut { engine, left, used: Arc::clone(&used), carried_out };
            let done = step(&mut Store { engine: Box::new(cut) });
            match done {
                Ok(answer) => {
                    answers.push(answer);
                    assert!(used.load(Ordering::SeqCst) <= left);
                    break;
                }
                Err(StoreError::Sql(SqlError::Lost)) => {}
                Err(other) => panic!("cut after {left}: {other:?}"),
            }
        }
    }
    answers.push(step(&mut open(place)).unwrap());
    let first = answers.remove(0);
    assert!(answers.iter().all(|answer| *answer == first), "{first:?} {answers:?}");
    first
}

pub(super) fn power_cut_at_any_statement_loses_and_doubles_nothing(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let demo = Some(DemoOffer { seats: 1, days: 14 });
    settle(&mut store, SeriesSettings { demo, moves_max: 10, ..SeriesSettings::default() });
    drop(store);
    let series = KeySeries::from_u16(0x672B);
    walk(place, |store| {
        let demo = DemoAsked { series, asked: asked(9), asker: asker("D") };
        Ok(store.demo(&set(), &demo, &machine(9), now())?.licence)
    });
    let licence = walk(place, |store| Ok(activate(store, &activation(code, 1, "A"))?.licence));
    let given = returning(1, &read(&licence));
    let spare = walk(place, |store| {
        let (asked, activation_id) = (given.asked.clone(), given.activation_id.clone());
        store.spare_for_server(&SpareAsked { asked, activation_id }, &machine(1), now())
    });
    let moved = walk(place, |store| Ok(activate(store, &activation(spare, 2, "B"))?.licence));
    let given = returning(2, &read(&moved));
    let reserve =
        walk(place, |store| Ok(store.take_back(&set(), &given, &machine(2), now())?.reserve_code));
    walk(place, |store| Ok(activate(store, &activation(reserve, 3, "C"))?.licence));
    let key_no = read(&moved).fields().key_no;
    let call = ReleaseCall::default();
    let released = walk(place, |store| {
        Ok(store.release(key_no, &call, EndedBy::Vendor, &anna(), now())?.reserve_code)
    });
    walk(place, |store| Ok(activate(store, &activation(released, 4, "E"))?.licence));
    let mut store = open(place);
    let view = store.key(key_no, now()).unwrap();
    assert_eq!(view.activations.len(), 4, "{view:?}");
    assert_eq!(view.activations.iter().filter(|one| one.ended.is_none()).count(), 1);
    let lines = store.audit(Some(key_no), None, None).unwrap().items;
    let count = |action: &str| lines.iter().filter(|line| line.action == action).count();
    assert_eq!((count("activation"), count("return"), count("spare")), (4, 3, 1));
    assert_eq!(store.keys(None, None, now()).unwrap().items.len(), 2, "one demo, one key");
}

/// The series of the tests without its secret.
pub(super) fn by_hand() -> SeriesSet {
    let secret = secret(0x672B);
    let descriptor = secret.descriptor("Тестовая серия".into(), None);
    [(secret.series(), Series::signed_by_hand(descriptor).unwrap())].into()
}

/// Signs the only document that waits, with the power cut at each statement.
fn sign(place: &Place) {
    let waiting = open(place).unsigned(None).unwrap().items;
    let [view] = &waiting[..] else { panic!("one waits: {waiting:?}") };
    let key = secret(0x672B).signing_key();
    let typ = match view.kind {
        UnsignedKind::Receipt => RECEIPT_TYP,
        UnsignedKind::Licence | UnsignedKind::Short => LICENCE_TYP,
    };
    let document = jws::sign(typ, &view.claims, &key).unwrap();
    walk(place, |store| {
        Ok(store.take_signature(&by_hand(), view.unsigned_id, &document, &anna(), now())?.key_no)
    });
}

/// What was refused for want of a signature, as an answer.
pub(super) fn pending<T>(done: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match done {
        Err(StoreError::SignaturePending) => Ok(None),
        done => done.map(Some),
    }
}

pub(super) fn power_cut_while_the_vendor_signs_by_hand_loses_and_doubles_nothing(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    drop(store);
    let activate = |store: &mut Store| {
        let done = store.activate(&by_hand(), &activation(code, 1, "A"), &machine(1), now());
        Ok(pending(done)?.map(|done| done.licence))
    };
    assert_eq!(walk(place, activate), None);
    sign(place);
    let licence = walk(place, activate).unwrap();
    let given = returning(1, &read(&licence));
    let back = |store: &mut Store| {
        let done = store.take_back(&by_hand(), &given, &machine(1), now());
        Ok(pending(done)?.map(|done| (done.reserve_code, done.receipt)))
    };
    assert_eq!(walk(place, back), None);
    sign(place);
    let (_, receipt) = walk(place, back).unwrap();
    let key = secret(0x672B).signing_key().public();
    assert!(ReturnReceipt::verify(&receipt, &key).is_ok());
    let mut store = open(place);
    let key_no = read(&licence).fields().key_no;
    let lines = store.audit(Some(key_no), None, None).unwrap().items;
    let count = |action: &str| lines.iter().filter(|line| line.action == action).count();
    let counted = ["activation", "return", "unsigned", "signature"].map(count);
    assert_eq!(counted, [1, 1, 2, 2]);
    assert_eq!(store.unsigned(None).unwrap().items, []);

    // The secret comes to the centre while something waits: it is signed at once.
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let asked = activation(code, 5, "E");
    let done = store.activate(&by_hand(), &asked, &machine(5), now());
    assert_eq!(pending(done).unwrap().map(|done| done.licence), None);
    let done = store.activate(&set(), &asked, &machine(5), now()).unwrap();
    assert!(!done.first);
    read(&done.licence);
    assert_eq!(store.unsigned(None).unwrap().items, []);
}
