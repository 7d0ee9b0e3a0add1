//! The object manager that the build has packed.

use licence_epf::object_module;

/// What the component hands out.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/manager.epf"));

/// Its module, with or without a byte-order mark and with any line ends.
const SOURCE: &str = include_str!("../manager/МенеджерОбъектов/Ext/ObjectModule.bsl");

fn plain(text: &str) -> String {
    text.trim_start_matches('\u{feff}').replace("\r\n", "\n")
}

#[test]
fn packed_manager_holds_the_module_of_its_sources() {
    let module = object_module(PACKED).unwrap();
    assert_eq!(plain(&module), plain(SOURCE));
    assert!(module.contains("УстановитьОбъектКомпоненты"));
}
