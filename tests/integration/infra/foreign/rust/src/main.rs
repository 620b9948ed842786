//! Writes as the owner and reads as the analyst with the crate's defaults, which are LZ4 and RowBinary.
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

#[derive(Row, Serialize, Deserialize)]
struct Sample {
    a: u64,
    b: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), clickhouse::error::Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let client = Client::default().with_url(&arguments[1]).with_database("tidemark");
    let owner = client.clone().with_user("default").with_password(&arguments[2]);
    owner
        .query("CREATE OR REPLACE TABLE from_rust (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
        .execute()
        .await?;
    let mut insert = owner.insert::<Sample>("from_rust").await?;
    for number in 0..100_000u64 {
        insert.write(&Sample { a: number, b: format!("it's; {number}") }).await?;
    }
    insert.end().await?;
    let analyst = client.with_user("analyst").with_password(&arguments[3]);
    let (count, sum): (u64, u64) = analyst.query("SELECT count(), sum(a) FROM from_rust").fetch_one().await?;
    println!("inserted {count} {sum}");
    let mut rows = analyst
        .query("SELECT ?fields FROM from_rust WHERE (a >= ?) ORDER BY a")
        .bind(50_000u64)
        .fetch::<Sample>()?;
    let (mut read, mut last) = (0, String::new());
    while let Some(row) = rows.next().await? {
        read += 1;
        last = row.b;
    }
    println!("read {read} {last}");
    let refused = analyst.query("SELECT 1 FROM nowhere").fetch_one::<u8>().await;
    println!("error {}", refused.is_err_and(|error| error.to_string().contains("nowhere")));
    Ok(())
}
