//! The modules and their fields.

use serde_json::{Value, json};

/// A module of the CRM.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) api_name: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) id: &'static str,
    /// What tells two records apart in an upsert that does not say.
    pub(crate) duplicate_check: &'static str,
    /// Names a record, in a lookup and among the deleted.
    pub(crate) display: &'static str,
    fields: &'static [Field],
}

/// A field of a module.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) api_name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) mandatory: bool,
    pub(crate) read_only: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Currency,
    Date,
    DateTime,
    Email,
    Integer,
    /// A record of the module that is named.
    Lookup(&'static str),
    Owner,
    Phone,
    Picklist(&'static [&'static str]),
    Text,
    TextArea,
    Website,
}

impl Kind {
    /// Zoho's name for it.
    pub(crate) fn data_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Currency => "currency",
            Self::Date => "date",
            Self::DateTime => "datetime",
            Self::Email => "email",
            Self::Integer => "integer",
            Self::Lookup(_) => "lookup",
            Self::Owner => "ownerlookup",
            Self::Phone => "phone",
            Self::Picklist(_) => "picklist",
            Self::Text => "text",
            Self::TextArea => "textarea",
            Self::Website => "website",
        }
    }

    fn json_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Currency => "double",
            Self::Integer => "integer",
            Self::Lookup(_) | Self::Owner => "jsonobject",
            Self::Date
            | Self::DateTime
            | Self::Email
            | Self::Phone
            | Self::Picklist(_)
            | Self::Text
            | Self::TextArea
            | Self::Website => "string",
        }
    }

    /// Characters a value may have.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Email => 100,
            Self::Phone => 30,
            Self::TextArea => 32_000,
            Self::Picklist(_) | Self::Lookup(_) | Self::Owner => 120,
            Self::Integer => 9,
            Self::Currency => 16,
            Self::Boolean | Self::Date | Self::DateTime => 20,
            Self::Text | Self::Website => 255,
        }
    }
}

const fn field(api_name: &'static str, kind: Kind) -> Field {
    Field { api_name, kind, mandatory: false, read_only: false }
}

const fn mandatory(api_name: &'static str, kind: Kind) -> Field {
    Field { api_name, kind, mandatory: true, read_only: false }
}

const fn read_only(api_name: &'static str, kind: Kind) -> Field {
    Field { api_name, kind, mandatory: false, read_only: true }
}

/// What every module has.
const SYSTEM: &[Field] = &[
    field("Owner", Kind::Owner),
    field("Description", Kind::TextArea),
    read_only("Created_By", Kind::Owner),
    read_only("Modified_By", Kind::Owner),
    read_only("Created_Time", Kind::DateTime),
    read_only("Modified_Time", Kind::DateTime),
];

const SOURCES: &[&str] = &["-None-", "Advertisement", "Cold Call", "Partner", "Trade Show", "Web"];
const STATUSES: &[&str] = &["-None-", "Contacted", "Not Contacted", "Junk Lead", "Lost Lead"];
const INDUSTRIES: &[&str] = &["-None-", "ERP", "Government/Military", "Service Provider"];
const STAGES: &[&str] =
    &["Qualification", "Needs Analysis", "Negotiation/Review", "Closed Won", "Closed Lost"];

/// All modules.
pub(crate) const MODULES: &[Module] = &[
    Module {
        api_name: "Leads",
        singular: "Lead",
        id: "2175000000000000101",
        duplicate_check: "Email",
        display: "Full_Name",
        fields: &[
            mandatory("Last_Name", Kind::Text),
            field("First_Name", Kind::Text),
            read_only("Full_Name", Kind::Text),
            field("Company", Kind::Text),
            field("Designation", Kind::Text),
            field("Email", Kind::Email),
            field("Phone", Kind::Phone),
            field("Mobile", Kind::Phone),
            field("Website", Kind::Website),
            field("Lead_Source", Kind::Picklist(SOURCES)),
            field("Lead_Status", Kind::Picklist(STATUSES)),
            field("Industry", Kind::Picklist(INDUSTRIES)),
            field("Annual_Revenue", Kind::Currency),
            field("No_of_Employees", Kind::Integer),
            field("Email_Opt_Out", Kind::Boolean),
            field("Street", Kind::Text),
            field("City", Kind::Text),
            field("State", Kind::Text),
            field("Zip_Code", Kind::Text),
            field("Country", Kind::Text),
        ],
    },
    Module {
        api_name: "Contacts",
        singular: "Contact",
        id: "2175000000000000103",
        duplicate_check: "Email",
        display: "Full_Name",
        fields: &[
            mandatory("Last_Name", Kind::Text),
            field("First_Name", Kind::Text),
            read_only("Full_Name", Kind::Text),
            field("Account_Name", Kind::Lookup("Accounts")),
            field("Email", Kind::Email),
            field("Phone", Kind::Phone),
            field("Mobile", Kind::Phone),
            field("Title", Kind::Text),
            field("Department", Kind::Text),
            field("Date_of_Birth", Kind::Date),
            field("Lead_Source", Kind::Picklist(SOURCES)),
            field("Email_Opt_Out", Kind::Boolean),
            field("Mailing_City", Kind::Text),
            field("Mailing_Country", Kind::Text),
        ],
    },
    Module {
        api_name: "Accounts",
        singular: "Account",
        id: "2175000000000000105",
        duplicate_check: "Account_Name",
        display: "Account_Name",
        fields: &[
            mandatory("Account_Name", Kind::Text),
            field("Account_Number", Kind::Text),
            field("Phone", Kind::Phone),
            field("Website", Kind::Website),
            field("Industry", Kind::Picklist(INDUSTRIES)),
            field("Annual_Revenue", Kind::Currency),
            field("Employees", Kind::Integer),
            field("Billing_City", Kind::Text),
            field("Billing_Country", Kind::Text),
        ],
    },
    Module {
        api_name: "Deals",
        singular: "Deal",
        id: "2175000000000000107",
        duplicate_check: "Deal_Name",
        display: "Deal_Name",
        fields: &[
            mandatory("Deal_Name", Kind::Text),
            field("Stage", Kind::Picklist(STAGES)),
            field("Amount", Kind::Currency),
            field("Closing_Date", Kind::Date),
            field("Probability", Kind::Integer),
            field("Account_Name", Kind::Lookup("Accounts")),
            field("Contact_Name", Kind::Lookup("Contacts")),
            field("Lead_Source", Kind::Picklist(SOURCES)),
            field("Next_Step", Kind::Text),
        ],
    },
];

/// The module of this name. Case counts, as at Zoho.
pub(crate) fn module(api_name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.api_name == api_name)
}

impl Module {
    /// All fields but `id`.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields.iter().chain(SYSTEM)
    }

    pub(crate) fn field(&self, api_name: &str) -> Option<&'static Field> {
        self.fields().find(|field| field.api_name == api_name)
    }

    /// The module as `settings/modules` describes it.
    pub(crate) fn describe(&self) -> Value {
        json!({
            "api_name": self.api_name,
            "module_name": self.api_name,
            "singular_label": self.singular,
            "plural_label": self.api_name,
            "actual_plural_label": self.api_name,
            "actual_singular_label": self.singular,
            "id": self.id,
            "api_supported": true,
            "creatable": true,
            "editable": true,
            "deletable": true,
            "viewable": true,
            "visible": true,
            "show_as_tab": true,
            "generated_type": "default",
            "status": "visible",
            "modified_time": Value::Null,
            "modified_by": Value::Null,
            "parent_module": {},
            "profiles": [],
        })
    }

    /// The fields as `settings/fields` describes them.
    pub(crate) fn describe_fields(&self) -> Vec<Value> {
        // The module's number before the field's: `…101` has `…101001`, `…101002`.
        let number = self.id.trim_start_matches("2175").trim_start_matches('0');
        self.fields()
            .zip(1_u32..)
            .map(|(field, own)| field.describe(format!("2175000000000{number}{own:03}")))
            .collect()
    }
}

impl Field {
    fn describe(&self, id: String) -> Value {
        let writable = !self.read_only;
        let values: &[&str] = if let Kind::Picklist(values) = self.kind { values } else { &[] };
        let pick_list: Vec<Value> = values
            .iter()
            .zip(1_u32..)
            .map(|(value, number)| {
                json!({
                    "display_value": value,
                    "actual_value": value,
                    "reference_value": value,
                    "sequence_number": number,
                    "id": format!("{id}{number:02}"),
                    "type": "used",
                })
            })
            .collect();
        let lookup = if let Kind::Lookup(target) = self.kind {
            json!({
                "display_label": target,
                "api_name": self.api_name,
                "module": {
                    "api_name": target,
                    "id": module(target).map_or("", |module| module.id),
                },
            })
        } else {
            json!({})
        };
        json!({
            "id": id,
            "api_name": self.api_name,
            "field_label": self.api_name.replace('_', " "),
            "display_label": self.api_name.replace('_', " "),
            "data_type": self.kind.data_type(),
            "json_type": self.kind.json_type(),
            "length": self.kind.length(),
            "system_mandatory": self.mandatory,
            "read_only": self.read_only,
            "field_read_only": self.read_only,
            "custom_field": false,
            "webhook": true,
            "visible": true,
            "businesscard_supported": true,
            "created_source": "default",
            "view_type": { "view": true, "edit": writable, "create": writable, "quick_create": false },
            "operation_type": { "web_create": writable, "web_update": writable,
                                "api_create": writable, "api_update": writable },
            "pick_list_values": pick_list,
            "lookup": lookup,
            "unique": {},
            "currency": {},
            "auto_number": {},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_modules_refer_to_exists() {
        for module in MODULES {
            assert!(module.field(module.duplicate_check).is_some());
            assert!(module.field(module.display).is_some());
            for field in module.fields() {
                if let Kind::Lookup(target) = field.kind {
                    assert!(super::module(target).is_some());
                }
            }
            for field in module.describe_fields() {
                assert_eq!(field["id"].as_str().map(str::len), Some(19));
            }
        }
    }
}
