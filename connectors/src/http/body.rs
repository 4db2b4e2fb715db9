//! A body on its way in: counted against the buffer as it arrives, limited, decompressed.

use super::answer::Refused;
use super::inbox::{Inbox, Reservation};
use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt;
use std::io::Read;
use std::sync::Arc;

/// The body, as it was before it was compressed.
pub(super) async fn read(
    inbox: &Arc<Inbox>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Vec<u8>, Reservation), Refused> {
    let options = &inbox.options;
    let encoding = Encoding::of(headers)?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > options.body_max) {
        return Err(too_large(options.body_max));
    }
    let mut reservation = inbox.reserve(announced.unwrap_or(0).max(1)).ok_or_else(Refused::busy)?;
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0));
    let arrive = async {
        let mut frames = body.into_data_stream();
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|error| {
                Refused::new(StatusCode::BAD_REQUEST, format!("the body did not arrive whole: {error}"))
            })?;
            if bytes.len() + frame.len() > options.body_max {
                return Err(too_large(options.body_max));
            }
            bytes.extend_from_slice(&frame);
            if !reservation.grow(bytes.len()) {
                return Err(Refused::busy());
            }
        }
        Ok(())
    };
    match tokio::time::timeout(options.timeout, arrive).await {
        Ok(arrived) => arrived?,
        Err(_) => return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive")),
    }
    let bytes = match encoding {
        Encoding::Identity => bytes,
        encoding => tokio::task::block_in_place(|| encoding.decompress(&bytes, options.body_max))?,
    };
    if !reservation.grow(bytes.len()) {
        return Err(Refused::busy());
    }
    Ok((bytes, reservation))
}

fn too_large(max: usize) -> Refused {
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {max} bytes"))
        .with_hint("Send the records in several requests, or raise option \"body_max\" of the source.")
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Encoding, Refused> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
        let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "zstd" => Ok(Encoding::Zstd),
            other => {
                let error = format!("content encoding '{other}' is not supported");
                Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error).with_hint("Use gzip, zstd or none."))
            }
        }
    }

    fn decompress(self, bytes: &[u8], max: usize) -> Result<Vec<u8>, Refused> {
        let mut out = Vec::new();
        // One byte more than allowed tells that there is too much.
        let most = max as u64 + 1;
        let read = match self {
            Encoding::Identity => bytes.take(most).read_to_end(&mut out),
            Encoding::Gzip => flate2::read::MultiGzDecoder::new(bytes).take(most).read_to_end(&mut out),
            Encoding::Zstd => zstd::Decoder::new(bytes).and_then(|reader| reader.take(most).read_to_end(&mut out)),
        };
        match read {
            Ok(_) if out.len() > max => Err(too_large(max)),
            Ok(_) => Ok(out),
            Err(error) => {
                Err(Refused::new(StatusCode::BAD_REQUEST, format!("the body cannot be decompressed: {error}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_that_becomes_a_large_one_is_refused() {
        let zeros = vec![0; 1 << 20];
        for (encoding, bytes) in [
            (Encoding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap()),
            (Encoding::Gzip, {
                let mut gzip = flate2::read::GzEncoder::new(&zeros[..], flate2::Compression::fast());
                let mut out = Vec::new();
                gzip.read_to_end(&mut out).unwrap();
                out
            }),
        ] {
            assert_eq!(encoding.decompress(&bytes, 1 << 20).unwrap().len(), 1 << 20);
            assert_eq!(encoding.decompress(&bytes, (1 << 20) - 1).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(encoding.decompress(&bytes[..20], 1 << 20).unwrap_err().status, StatusCode::BAD_REQUEST);
        }
    }
}
