//! From what the user wrote to a plan: parse, bind, check, lower, explain; and ad-hoc queries over snapshots.
