//! Makes the table.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableStatus, TimeToLiveSpecification,
};
use aws_smithy_runtime_api::client::result::SdkError;
use tokenkeep_core::{Operation, StoreError};

use super::{
    edits::built,
    items::{EXPIRE_AT, INDEX, META, PK, PLACE, SHELF, number, text},
    table::{Run, Table},
};

/// The format of the table's items.
pub(crate) const FORMAT: u64 = 1;
/// For how much longer than another operation a table may be made.
const PATIENCE: u32 = 12;

/// Makes the table, unless there is one, and what has to stand in it from the beginning.
pub(crate) async fn create(table: &Table, marks: u32) -> Result<(), StoreError> {
    let patient = Arc::new(Table::new(
        table.client.clone(),
        table.name.clone(),
        table.timeout * PATIENCE,
        table.expire_after,
        Arc::clone(&table.clock),
    ));
    let work = |mut run: Run| async move {
        if status(&mut run).await?.is_none() {
            make(&mut run).await?;
        }
        while status(&mut run).await? != Some(TableStatus::Active) {
            run.pace.pause().await;
        }
        if run.table.expire_after.is_some() {
            expire(&mut run).await?;
        }
        let table = Arc::clone(&run.table);
        let request = || {
            let put = table.client.put_item().table_name(&table.name);
            put.item(PK, text(META))
                .item("format", number(FORMAT))
                .item("marks", number(marks))
                .condition_expression("attribute_not_exists(pk)")
                .send()
        };
        run.unless_condition(request).await.map(drop)
    };
    patient.read(Operation::Open, work).await
}

/// Whether the table can be used; `None` if there is none.
async fn status(run: &mut Run) -> Result<Option<TableStatus>, StoreError> {
    let table = Arc::clone(&run.table);
    let answer = run
        .ask(|| async {
            match table.client.describe_table().table_name(&table.name).send().await {
                Err(SdkError::ServiceError(context))
                    if context.err().is_resource_not_found_exception() =>
                {
                    Ok(None)
                }
                answer => answer.map(Some),
            }
        })
        .await?;
    Ok(answer.and_then(|answer| answer.table).and_then(|table| table.table_status))
}

async fn make(run: &mut Run) -> Result<(), StoreError> {
    let key = |name: &str, kind| {
        let key = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        key.map_err(built)
    };
    let attribute = |name: &str| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(ScalarAttributeType::S).build().map_err(built)
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name(INDEX)
        .key_schema(key(SHELF, KeyType::Hash)?)
        .key_schema(key(PLACE, KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .map_err(built)?;
    let table = Arc::clone(&run.table);
    let request = table
        .client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key(PK, KeyType::Hash)?)
        .attribute_definitions(attribute(PK)?)
        .attribute_definitions(attribute(SHELF)?)
        .attribute_definitions(attribute(PLACE)?)
        .global_secondary_indexes(index);
    run.ask(|| {
        let request = request.clone();
        async {
            match request.send().await {
                // Another process was faster, or this one was before.
                Err(SdkError::ServiceError(context))
                    if context.err().is_resource_in_use_exception() =>
                {
                    Ok(())
                }
                answer => answer.map(drop),
            }
        }
    })
    .await
}

/// Lets DynamoDB remove tokens by their time to live.
async fn expire(run: &mut Run) -> Result<(), StoreError> {
    let table = Arc::clone(&run.table);
    let get = || table.client.describe_time_to_live().table_name(&table.name).send();
    let current = run.ask(get).await?.time_to_live_description;
    if current.is_some_and(|current| current.attribute_name.as_deref() == Some(EXPIRE_AT)) {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder().attribute_name(EXPIRE_AT).enabled(true);
    let specification = specification.build().map_err(built)?;
    let table = Arc::clone(&run.table);
    let set = || {
        let update = table.client.update_time_to_live().table_name(&table.name);
        update.time_to_live_specification(specification.clone()).send()
    };
    run.ask(set).await.map(drop)
}
