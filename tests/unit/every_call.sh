#!/bin/sh
# Reads mp.h and writes a line EVERY_CALL(NAME, KIND, HOW, EXPRESSION) for each way to pass a dict or list to a public
# function. KIND is DICT or LIST. HOW is HANDLE (an argument of its own), VALUE (in an mp_value that is stored or
# searched for) or KEY. In the expression STALE stands for the handle; all other arguments are valid. An unknown type of
# argument is an error, so that no function is missing.
set -eu
tr '\n' ' ' <"$1" | sed 's|/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/| |g' |
    grep -o 'MP_API [^;(]*([^;]*);' | grep -v '^MP_API __attribute__' | sed 's/^MP_API //; s/  */ /g' | awk '
# The expression for an argument that is not a container. Empty: the type is unknown.
function plain(type, name) {
    if (type == "mp_dict *") return "live_dict"
    if (type == "mp_list *") return "live_list"
    if (type == "mp_dict **") return "\\&out_dict"
    if (type == "mp_list **") return "\\&out_list"
    if (type == "mp_dict_iter **") return "\\&out_dict_iter"
    if (type == "mp_list_iter **") return "\\&out_list_iter"
    if (type == "mp_value") return name == "key" || name == "from" || name == "to" ? "mp_value_str(\"a\")" : "mp_value_int(1)"
    if (type == "mp_value *") return "\\&out_value"
    if (type == "const mp_value *") return name == "keys" ? "\\&live_key" : "\\&live_value"
    if (type == "const char *") return "\"a\""
    if (type == "const void *") return "\"a\""
    if (type == "char *" || type == "void *") return name == "arg" ? "NULL" : "out_bytes"
    if (type == "char **") return "\\&out_text"
    if (type == "bool *") return "\\&out_bool"
    if (type == "bool") return "false"
    if (type == "int64_t") return name == "step" || name == "stop" || name == "times" ? "1" : "0"
    if (type == "int64_t *") return "\\&out_integer"
    if (type == "double") return "1.5"
    if (type == "double *") return "\\&out_real"
    if (type == "size_t") return "1"
    if (type == "size_t *") return "\\&out_size"
    if (type == "FILE *") return "sink"
    if (type == "mp_dict_function *") return "unused_function"
    if (type == "mp_compare *") return "NULL"
    return ""
}
function emit(kind, how, at, text,    i, list) {
    list = ""
    for (i = 1; i <= count; i++) list = list (i > 1 ? ", " : "") (i == at ? text : given[i])
    gsub(/\\&/, "\\&", list)
    print "EVERY_CALL(" name ", " kind ", " how ", " name "(" list "))"
}
{
    split($0, part, "(")
    name = part[1]; sub(/.*[ *]/, "", name)
    arguments = $0; sub(/^[^(]*\(/, "", arguments); sub(/\);.*$/, "", arguments)
    # Plain constructors and mp_value_free() check nothing.
    if (arguments !~ /mp_dict \*|mp_list \*|mp_value/ || name ~ /^mp_value_(dict|list)$|^mp_value_free$/) next
    # A function that only returns a dict or list takes none.
    if (arguments ~ /mp_manager|mp_dict_iter \*[^*]|mp_list_iter \*[^*]/) next
    count = split(arguments, argument, ", ")
    for (i = 1; i <= count; i++) {
        called = argument[i]; sub(/.*[ *]/, "", called)
        type[i] = argument[i]; sub(/[a-z_0-9]+$/, "", type[i]); sub(/ $/, "", type[i])
        names[i] = called
        given[i] = plain(type[i], called)
        if (given[i] == "") {
            print "mp.h: " name "(): argument \"" argument[i] "\" is not known" > "/dev/stderr"
            exit 1
        }
    }
    for (i = 1; i <= count; i++) {
        if (type[i] == "mp_dict *") emit("DICT", "HANDLE", i, "(mp_dict *)STALE")
        if (type[i] == "mp_list *") emit("LIST", "HANDLE", i, "(mp_list *)STALE")
        if (type[i] != "mp_value" && type[i] != "const mp_value *") continue
        how = names[i] == "key" || names[i] == "keys" || names[i] == "from" || names[i] == "to" ? "KEY" : "VALUE"
        if (type[i] == "mp_value") {
            emit("DICT", how, i, "mp_value_dict((mp_dict *)STALE)")
            emit("LIST", how, i, "mp_value_list((mp_list *)STALE)")
        } else {
            emit("DICT", how, i, "\\&(mp_value){.type = MP_DICT, .as.dict = (mp_dict *)STALE}")
            emit("LIST", how, i, "\\&(mp_value){.type = MP_LIST, .as.list = (mp_list *)STALE}")
        }
    }
}'
