//! JSON for the small records on the hot path: Python's own module imports `re`, which costs more than a container.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

/// Parse a document; ValueError says where it is wrong. Nesting is limited to 128 levels.
#[pyfunction]
pub fn parse_json(py: Python<'_>, document: &[u8]) -> PyResult<Py<PyAny>> {
    let value = serde_json::from_slice(document).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(to_python(py, &value)?.unbind())
}

/// Write a document without white space; TypeError for what JSON cannot hold. Bytes that are no UTF-8 (a path may hold
/// them, as lone surrogates) become U+FFFD.
#[pyfunction]
pub fn format_json<'py>(py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let text = serde_json::to_vec(&from_python(value)?).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &text))
}

fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => PyFloat::new(py, number.as_f64().unwrap_or(f64::NAN)).into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(members) => {
            let dict = PyDict::new(py);
            for (name, member) in members {
                dict.set_item(name, to_python(py, member)?)?;
            }
            dict.into_any()
        }
    })
}

fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(value) = value.cast::<PyBool>() {
        return Ok(Value::Bool(value.is_true()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::String(text.to_string_lossy().into_owned()));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(match value.extract::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(value.extract::<u64>()?),
        });
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return Number::from_f64(number.value())
            .map(Value::Number)
            .ok_or_else(|| PyValueError::new_err("JSON has neither NaN nor infinity"));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        let mut members = Map::new();
        for (name, member) in dict {
            members.insert(name.cast::<PyString>()?.to_string_lossy().into_owned(), from_python(&member)?);
        }
        return Ok(Value::Object(members));
    }
    // By their own iterators: for the length of any other one PyO3 imports `operator`, which takes half a millisecond.
    if let Ok(list) = value.cast::<PyList>() {
        return list.iter().map(|item| from_python(&item)).collect::<PyResult<_>>().map(Value::Array);
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return tuple.iter().map(|item| from_python(&item)).collect::<PyResult<_>>().map(Value::Array);
    }
    Err(PyTypeError::new_err(format!("{} is nothing that JSON can hold", value.get_type().name()?)))
}
