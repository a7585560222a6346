package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/joho/godotenv"
	"github.com/settled/settled/db"
)

// values are the settings as given, by the environment variable's name, and where each came from.
type values struct {
	value  map[string]string
	source map[string]string // "default", "environment", "file", ".env", "flag"
}

// gather reads every setting: flags over the environment (over .env) over defaults. It
// returns every problem.
func gather(given flags, environ []string, dotenv string) (values, []error) {
	v := values{map[string]string{}, map[string]string{}}
	env := map[string]string{}
	from := map[string]string{}
	file, problems := readDotenv(dotenv)
	for k, x := range file {
		env[k], from[k] = x, ".env"
	}
	for _, line := range environ {
		if k, x, ok := strings.Cut(line, "="); ok {
			env[k], from[k] = x, "environment"
		}
	}
	for _, s := range settings {
		v.value[s.name], v.source[s.name] = s.def, "default"
		older := ""
		for _, name := range []string{s.alias, s.name} {
			if name == "" {
				continue
			}
			x, given := env[name]
			if given {
				v.value[s.name], v.source[s.name] = x, from[name]
			}
			if path := env[name+"_FILE"]; s.file && path != "" {
				if given {
					problems = append(problems, fmt.Errorf("%s and %s_FILE are both set: set one of them", name, name))
					continue
				}
				content, err := readSecret(path)
				if err != nil {
					problems = append(problems,
						fmt.Errorf("%s_FILE: the file that it names cannot be read: %w", name, err))
					continue
				}
				x = content
				v.value[s.name], v.source[s.name] = content, "file"
			}
			if older != "" && x != "" && x != older {
				problems = append(problems,
					fmt.Errorf("%s and %s are two names of one setting, and have two values: set %s alone", s.name,
						s.alias, s.name))
			}
			older = x
		}
		if x := s.given(given); x != nil {
			v.value[s.name], v.source[s.name] = *x, "flag"
			if s.name == "DATABASE_URL" && db.HasPassword(*x) {
				problems = append(problems,
					fmt.Errorf("DATABASE_URL: a flag may hold no password, for every process of this machine can read it: use the environment, .env or DATABASE_URL_FILE"))
			}
		}
	}
	return v, append(problems, nearly(env)...)
}

// readDotenv reads a .env file, unless others could have written it: who writes it says where the key is sent.
func readDotenv(path string) (map[string]string, []error) {
	refuse := func(format string, args ...any) (map[string]string, []error) {
		return nil, []error{fmt.Errorf(path+" "+format, args...)}
	}
	file, err := os.Open(path)
	var where *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.As(err, &where):
		return refuse("cannot be read: %w", where.Err)
	case err != nil:
		return refuse("cannot be read")
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return refuse("cannot be read: it is no file")
	}
	if why := foreign(info); why != "" {
		return refuse("is not read: %s", why)
	}
	env, err := godotenv.Parse(file)
	if err != nil { // the error quotes the file, and with it the secrets
		return refuse("cannot be read: a line is not of the form NAME=value, or a quote is not closed (nothing of it is shown, for it may hold secrets)")
	}
	return env, nil
}

// secretMost is far more than any secret has: a file that is larger is not one.
const secretMost = 64 << 10

// readSecret reads a secret's file. The error does not show the path: it may be the secret
// itself, in the wrong variable.
func readSecret(path string) (string, error) {
	file, err := os.Open(path)
	var content []byte
	if err == nil {
		defer file.Close()
		content, err = io.ReadAll(io.LimitReader(file, secretMost+1))
	}
	var where *fs.PathError
	switch {
	case errors.As(err, &where):
		return "", where.Err
	case err != nil:
		return "", err
	case len(content) > secretMost:
		return "", fmt.Errorf("it has more than %d bytes", secretMost)
	}
	return strings.TrimSpace(string(content)), nil
}
