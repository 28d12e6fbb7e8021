//! How the objects of a record are declared: each field once, with its name, its type here and in a mapping, and its meaning.
//!
//! From one declaration come the object that serde writes, and the list that docs/record.md and the mappings are made of.

/// Declares objects, each with the prefix of its fields' names:
///
/// ```text
/// struct ConnectSourcePart in "source." {
///     ip: IpAddr => Ip "The address of who asked";
///     maybe port: u16 => Long "Its port";
/// }
/// ```
///
/// A field is absent where a `maybe` is `None`, and has another name than in Rust behind `as`. The parts of a `flat` one are
/// fields of the object itself. An object in an object is an `own` one of this kind, or it lists in brackets what it shows
/// here. Or an expression says what is `listed`: of an exchange, where it means the same there.
macro_rules! parts {
    ($($(#[$meta:meta])* struct $name:ident $(<$life:lifetime>)? in $prefix:literal { $($body:tt)* })+) => {
        $(parts!(@member [$(#[$meta])* struct $name $(<$life>)?] $prefix [] [] $($body)*);)+
    };
    (@member $head:tt $prefix:literal [$($members:tt)*] [$($rows:tt)*]) => {
        parts!(@object $head [$($members)*] [$($rows)*]);
    };
    (@member $head:tt $prefix:literal [$($members:tt)*] $rows:tt
        maybe $field:ident: $type:ty $(as $name:literal)? => $($rest:tt)*) => {
        parts!(@row $head $prefix [$($members)*
            #[serde(skip_serializing_if = "Option::is_none")]
            $(#[serde(rename = $name)])?
            pub(super) $field: Option<$type>,
        ] $rows ($type) (parts!(@name $field $($name)?)) $($rest)*);
    };
    (@member $head:tt $prefix:literal [$($members:tt)*] $rows:tt flat $field:ident: $type:ty => $($rest:tt)*) => {
        parts!(@row $head $prefix [$($members)* #[serde(flatten)] pub(super) $field: $type,] $rows ($type) ("") $($rest)*);
    };
    (@member $head:tt $prefix:literal [$($members:tt)*] $rows:tt
        $field:ident: $type:ty $(as $name:literal)? => $($rest:tt)*) => {
        parts!(@row $head $prefix [$($members)* $(#[serde(rename = $name)])? pub(super) $field: $type,] $rows
            ($type) (parts!(@name $field $($name)?)) $($rest)*);
    };
    (@row $head:tt $prefix:literal $members:tt [$($rows:tt)*] ($type:ty) $name:tt own; $($rest:tt)*) => {
        parts!(@member $head $prefix $members [$($rows)* <$type>::fields(),] $($rest)*);
    };
    (@row $head:tt $prefix:literal $members:tt [$($rows:tt)*] $type:tt $name:tt listed $fields:expr; $($rest:tt)*) => {
        parts!(@member $head $prefix $members [$($rows)* $fields,] $($rest)*);
    };
    (@row $head:tt $prefix:literal $members:tt [$($rows:tt)*] $type:tt $name:tt
        [$($whole:literal $kind:ident $meaning:literal),* $(,)?] $(and $fields:expr)?; $($rest:tt)*) => {
        parts!(@member $head $prefix $members [$($rows)* vec![$(parts!(@field $whole, $kind, $meaning)),*], $($fields,)?]
            $($rest)*);
    };
    (@row $head:tt $prefix:literal $members:tt [$($rows:tt)*] $type:tt ($name:expr) $kind:ident $meaning:literal; $($rest:tt)*) => {
        parts!(@member $head $prefix $members [$($rows)* vec![parts!(@field concat!($prefix, $name), $kind, $meaning)],]
            $($rest)*);
    };
    (@field $name:expr, $kind:ident, $meaning:literal) => {
        $crate::format::fields::field($name, $crate::format::fields::FieldType::$kind, $meaning)
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
    (@object [$(#[$meta:meta])* struct $name:ident $(<$life:lifetime>)?] [$($members:tt)*] [$($rows:tt)*]) => {
        $(#[$meta])*
        #[derive(serde::Serialize)]
        pub(super) struct $name $(<$life>)? { $($members)* }

        impl $(<$life>)? $name $(<$life>)? {
            /// What it shows, in order.
            pub(super) fn fields() -> Vec<crate::format::fields::RecordField> {
                [$($rows)*].concat()
            }
        }
    };
}
pub(super) use parts;
