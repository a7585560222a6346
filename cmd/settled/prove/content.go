package prove

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
)

// content writes what a value says, without what differs from run to run, or from build to build:
// addresses, functions, channels. It tells steps of one name apart.
func content(v any) string {
	if v == nil {
		return ""
	}
	var b strings.Builder
	write(&b, reflect.ValueOf(v), 8)
	return b.String()
}

func write(b *strings.Builder, v reflect.Value, deep int) {
	if deep == 0 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		b.WriteString(strconv.Quote(v.String()))
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		b.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			write(b, v.Elem(), deep-1)
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(b, "%x", v.Bytes())
			return
		}
		for i := range v.Len() {
			b.WriteByte(' ')
			write(b, v.Index(i), deep-1)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[actor.PID]() {
			b.WriteString(v.FieldByName("Id").String())
			return
		}
		if !says(v.Type()) {
			return
		}
		b.WriteString(v.Type().Name())
		for i := range v.NumField() {
			b.WriteByte(';')
			write(b, v.Field(i), deep-1)
		}
	case reflect.Map:
		b.WriteString(strconv.Itoa(v.Len()))
	}
}

// says reports a struct that is data. Those of others are not (a time has the address of its zone),
// and of ours not those that work: they lead to all that there is.
func says(t reflect.Type) bool {
	ours := t.PkgPath() == "" || strings.HasPrefix(t.PkgPath(), "github.com/settled/settled/")
	return ours && t.Name() != "System" && t.Name() != "walker"
}
