//! The stored corpus of the fuzz target, without a fuzzer.

#[path = "../fuzz/property.rs"]
mod property;

#[test]
fn the_property_holds_of_the_corpus() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/stomp");
    let mut read = 0;
    for entry in std::fs::read_dir(directory).expect("the corpus") {
        let bytes = std::fs::read(entry.expect("a file").path()).expect("a file");
        if let Ok(text) = std::str::from_utf8(&bytes) {
            property::holds(text);
            read += 1;
        }
    }
    assert!(read >= 20, "only {read} files");
}
