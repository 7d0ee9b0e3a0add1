use super::*;

fn gathered(packet: usize, transfers: &[&[u8]]) -> (Result<Vec<u8>, TokenError>, Vec<usize>) {
    let mut asked = Vec::new();
    let mut transfers = transfers.iter();
    let result = gather(packet, |bytes| {
        asked.push(bytes);
        Ok(transfers.next().map(|it| it.to_vec()).unwrap_or_default())
    });
    (result, asked)
}

fn message(data_bytes: usize) -> Vec<u8> {
    let mut message = vec![0x80];
    message.extend(u32::try_from(data_bytes).unwrap().to_le_bytes());
    message.resize(10 + data_bytes, 7);
    message
}

#[test]
fn message_is_put_together_from_whole_packets_with_and_without_an_empty_one() {
    let check = |data_bytes: usize, asked: &[usize]| {
        let message = message(data_bytes);
        let (start, rest) = message.split_at(message.len().min(64));
        let (result, lengths) = gathered(64, &[start, rest]);
        assert_eq!(result.as_ref(), Ok(&message), "{data_bytes}");
        assert_eq!(lengths, asked, "{data_bytes}");
        // The empty packet that ended the message before.
        assert_eq!(gathered(64, &[&[], start, rest]).0, Ok(message), "{data_bytes}");
    };
    check(0, &[64]);
    check(53, &[64]);
    check(54, &[64]);
    check(55, &[64, 64]);
    check(118, &[64, 64]);
    check(119, &[64, 128]);
}

#[test]
fn message_of_another_length_than_it_says_is_refused() {
    let cut = message(100);
    let wrong = Err(TokenError::Malformed("the message's length is not what it says"));
    assert_eq!(gathered(64, &[&cut[..64], &cut[64..70]]).0, wrong);
    assert_eq!(gathered(64, &[&cut[..60]]).0, wrong);
    let long = [message(2), vec![0]].concat();
    assert_eq!(gathered(64, &[&long]).0, wrong);
    let huge = [&[0x80, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0; 59]].concat();
    assert_eq!(gathered(64, &[&huge]).0, Err(TokenError::Malformed("the message is too long")));
    let empty = gathered(64, &[]);
    assert_eq!(empty.0, Err(TokenError::Malformed("the message's header is cut off")));
    assert_eq!(empty.1.len(), EMPTY_MAX);
}

#[test]
fn id_is_read_back_and_other_texts_are_none() {
    for text in ["001-004/1050:0407/", "?-200/08E6:4433/1-0000:00:01.0-1", "003-007/20A0:42B2/a/b"]
    {
        assert_eq!(text.parse::<UsbId>().unwrap().to_string(), text);
    }
    for bad in ["", "1-4", "1-4/1050:0407", "1/1050:0407/", "1-4/1050/", "x-4/1050:0407/"] {
        assert_eq!(bad.parse::<UsbId>(), Err(UsbIdError), "{bad}");
    }
}

#[test]
fn failures_of_transfers_are_told_apart() {
    assert_eq!(broken(TransferError::Cancelled), TokenError::Slow);
    assert_eq!(broken(TransferError::Disconnected), TokenError::Gone);
    assert!(matches!(broken(TransferError::Stall), TokenError::Malformed(_)));
    assert!(matches!(broken(TransferError::Fault), TokenError::System(_)));
}
