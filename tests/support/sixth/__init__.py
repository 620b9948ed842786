"""A sixth product, which is no part of the project: what somebody writes who adds one."""
