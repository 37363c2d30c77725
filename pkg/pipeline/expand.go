package pipeline

import (
	"fmt"
	"reflect"
)

// Expand returns a copy of the step with its variables filled in, its services'
// included; never in Run.
func (s *Step) Expand(v Vars) (Step, error) { return expand(*s, v, "step "+s.Name) }

// Expand returns a copy of the build with its variables filled in, never in Run.
func (b *Build) Expand(v Vars) (Build, error) { return expand(*b, v, "build") }

// Expand returns a copy of the release with its variables filled in, but not in its
// acceptance steps, which have variables of their own, nor in scripts.
func (r *Release) Expand(v Vars) (Release, error) { return expand(*r, v, "release") }

// Expand returns a copy of the target with its variables filled in, but not in its
// drivers and checks: those may use outputs that only an earlier driver makes.
func (t *Target) Expand(v Vars) (Target, error) { return expand(*t, v, "environment "+t.Name) }

// Expand returns a copy of the driver with its variables filled in, never in scripts.
func (d *Driver) Expand(v Vars) (Driver, error) { return expand(*d, v, "driver "+d.Kind) }

// Expand returns a copy of the probe with its variables filled in, never in Run.
func (p *Probe) Expand(v Vars) (Probe, error) { return expand(*p, v, "probe") }

// expand fills in all strings of a copy of in, except fields tagged vars:"no".
func expand[T any](in T, v Vars, what string) (T, error) {
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	if err := v.copyInto(out, reflect.ValueOf(in)); err != nil {
		return in, fmt.Errorf("expand %s: %w", what, err)
	}
	return out.Interface().(T), nil
}

// copyInto sets to, a zero value, to a deep copy of from with strings expanded.
func (v Vars) copyInto(to, from reflect.Value) error {
	switch from.Kind() {
	case reflect.String:
		s, err := v.Expand(from.String())
		to.SetString(s)
		return err
	case reflect.Struct:
		return v.copyFields(to, from)
	case reflect.Pointer:
		if from.IsNil() {
			return nil
		}
		to.Set(reflect.New(from.Type().Elem()))
		return v.copyInto(to.Elem(), from.Elem())
	case reflect.Slice:
		return v.copyItems(to, from)
	case reflect.Map:
		return v.copyMap(to, from)
	}
	to.Set(from)
	return nil
}

func (v Vars) copyFields(to, from reflect.Value) error {
	for i := range from.NumField() {
		if from.Type().Field(i).Tag.Get("vars") == "no" {
			to.Field(i).Set(from.Field(i))
			continue
		}
		if err := v.copyInto(to.Field(i), from.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func (v Vars) copyItems(to, from reflect.Value) error {
	if from.IsNil() {
		return nil
	}
	to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
	for i := range from.Len() {
		if err := v.copyInto(to.Index(i), from.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// copyMap expands values only: keys are names.
func (v Vars) copyMap(to, from reflect.Value) error {
	if from.IsNil() {
		return nil
	}
	to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
	for _, k := range from.MapKeys() {
		item := reflect.New(from.Type().Elem()).Elem()
		if err := v.copyInto(item, from.MapIndex(k)); err != nil {
			return err
		}
		to.SetMapIndex(k, item)
	}
	return nil
}
