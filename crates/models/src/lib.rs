//! Model families and their file formats
