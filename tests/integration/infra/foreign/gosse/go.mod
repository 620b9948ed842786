module foreign

go 1.23
